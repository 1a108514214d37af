# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Loading weights whole or not at all: what the Runner does silently in part."""
import re
from pathlib import Path

from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch.optim import Optimizer

from srdensenet_mm.checkpoints.reading import read_checkpoint
from srdensenet_mm.errors import UserError

_WRAPPERS = re.compile(r'^((module|_orig_mod)\.)+')


def load_for_test(model: nn.Module, path: str) -> None:
    """Fill a model's network from any checkpoint of ours.

    Args:
        model (nn.Module): A model with a network ``generator``, as MMagic's
            editing models are, or the network itself.
        path (str): A Runner's checkpoint, a published or converted one,
            ``.pth`` or ``.safetensors``. Of one written with EMA, the averages
            are taken.

    Raises:
        UserError: The file cannot be read, holds more than data, or does not
            fit the network; the message names the first key or shape.
    """
    weights = read_checkpoint(path).weights
    model = model.module if is_model_wrapper(model) else model
    networks = [getattr(model, name) for name in ('generator', 'generator_ema')
                if isinstance(getattr(model, name, None), nn.Module)]
    for network in networks or [model]:
        network = network.module if hasattr(network, 'module') else network
        check_fit(network.state_dict(), weights, path)
        network.load_state_dict(weights)


def check_fit(expected: dict[str, Tensor], found: dict[str, Tensor], path: str) -> None:
    """Compare a checkpoint's keys and shapes with a network's.

    Raises:
        UserError: Names the first that does not fit.
    """
    for key, value in expected.items():
        if key not in found:
            raise UserError(f'{path}: does not fit the config: the network has {key}, the '
                            f'checkpoint has not{_foreign(found)}')
        if value.shape != found[key].shape:
            raise UserError(f'{path}: does not fit the config: {key} is {tuple(found[key].shape)} '
                            f'in the checkpoint and {tuple(value.shape)} in the network')
    for key in found:
        if key not in expected:
            raise UserError(f'{path}: does not fit the config: the checkpoint has {key}, the '
                            'network has not (another upscale_factor or depth?)')


def check_state(checkpoint: dict, with_schedulers: bool, path: str) -> None:
    """Look whether a checkpoint holds more than weights: all that a training goes on from.

    The Runner takes what there is. It would begin anew with the optimizer and
    the learning rate of a best checkpoint, which holds neither, and go on
    counting iterations.

    Args:
        checkpoint (dict): What the file holds.
        with_schedulers (bool): Whether the training has any.
        path (str): The file, for the message.

    Raises:
        UserError: Names what is missing.
    """
    needed = ['message_hub', 'optimizer', *['param_schedulers'] * with_schedulers]
    missing = [key for key in needed if key not in checkpoint]
    missing += [f'meta.{key}' for key in ('epoch', 'iter') if key not in checkpoint['meta']]
    if missing:
        raise UserError(
            f'{path}: holds weights, not the state of a training (no {", ".join(missing)}): '
            '--resume with one of its iter_*.pth, or begin anew from its weights with '
            f'--cfg-options load_from={path}')


def check_optimizer(optimizer: Optimizer, saved: dict, path: str) -> None:
    """Compare a checkpoint's optimizer with the one that is to go on with its state.

    Versions of torch add settings to an optimizer, never both add and take
    away: where each has some that the other lacks, it is another optimizer.

    Args:
        optimizer (Optimizer): The config's.
        saved (dict): State of the checkpoint's.
        path (str): The checkpoint, for the message.

    Raises:
        UserError: They are different ones.
    """
    ours, theirs = (set(groups[0]) for groups in (optimizer.param_groups, saved['param_groups']))
    # What schedulers leave in a group.
    ours, theirs = (ours - theirs) - {'initial_lr'}, (theirs - ours) - {'initial_lr'}
    if ours and theirs:
        raise UserError(
            f'{path}: was saved with another optimizer than {type(optimizer).__name__} (it has '
            f'{", ".join(sorted(theirs))}, not {", ".join(sorted(ours))}): --resume with the '
            'config that saved it, or begin anew from its weights with --cfg-options '
            f'load_from={path}')


def _foreign(found: dict[str, Tensor]) -> str:
    if any(key.startswith(('conv1.', 'dcb', 'conv.conv', 'dense_blocks.')) for key in found):
        return "; convert another implementation's first: tools/convert_checkpoint.py"
    return ' (another upscale_factor or depth?)'


def find_whole_checkpoint(work_dir: str) -> str | None:
    """The newest checkpoint in a work folder that can be read to its end.

    Args:
        work_dir (str): Where a Runner has saved.

    Returns:
        str or None: What ``last_checkpoint`` names, if it is whole. Else (it
        was damaged, or the folder moved) the newest ``iter_*.pth`` or
        ``epoch_*.pth`` that is. None where there has been none at all.

    Raises:
        UserError: There are checkpoints, but none is whole.
    """
    folder = Path(work_dir)
    candidates = sorted(
        [*folder.glob('iter_*.pth'), *folder.glob('epoch_*.pth')],
        key=lambda path: path.stat().st_mtime, reverse=True)
    try:
        named = Path((folder / 'last_checkpoint').read_text().strip())
    except OSError:
        named = None
    if named is not None:
        if not named.is_file():
            named = folder / named.name
        if named.is_file():
            candidates = [named, *(path for path in candidates if path.name != named.name)]
    first_error = None
    for candidate in candidates:
        try:
            read_checkpoint(candidate)
        except UserError as error:
            print_log(f'{error}; trying an older one', 'current')
            first_error = first_error or error
        else:
            return str(candidate)
    if first_error is not None:
        raise UserError(f'{first_error}; {work_dir} has no whole checkpoint to resume from: train '
                        'anew, without --resume')
    return None


@HOOKS.register_module()
class CheckpointKeysHook(Hook):
    """Makes a checkpoint's keys the model's before the Runner loads it.

    Published and converted checkpoints hold a bare network; the Runner would
    match none of its keys, and say so only in the log. Runner checkpoints pass
    unchanged.

    Args:
        strict (bool): Refuse a checkpoint that does not fit, as resuming must.
            Defaults to False: what fits is taken, as for fine-tuning a x2
            network into a x4 one.
    """

    priority = 'HIGHEST'  # before averages are taken from it

    def __init__(self, strict: bool = False):
        self.strict = strict

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Rename keys in place.

        Raises:
            UserError: Nothing of the checkpoint fits or, with ``strict``, not
                all of it, optimizer included, or there are weights alone.
        """
        # The Runner would execute this text, and a checkpoint may be a stranger's.
        checkpoint.setdefault('meta', {}).pop('config', None)
        if 'state_dict' not in checkpoint:
            checkpoint['state_dict'] = {
                key: checkpoint.pop(key) for key, value in list(checkpoint.items())
                if isinstance(value, Tensor)}
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        expected = model.state_dict()
        weights = {_WRAPPERS.sub('', key): value for key, value in checkpoint['state_dict'].items()}
        if not expected.keys() & weights.keys():
            weights = {f'generator.{key}': value for key, value in weights.items()}
        path = runner._load_from
        if self.strict:
            check_fit(expected, weights, path)
            check_state(checkpoint, bool(runner.param_schedulers), path)
            optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
            if optimizer is not None and 'param_groups' in checkpoint['optimizer']:
                check_optimizer(optimizer, checkpoint['optimizer'], path)
        elif not any(key in expected and expected[key].shape == value.shape
                     for key, value in weights.items()):
            raise UserError(f'{path}: not one key and shape fits the model{_foreign(weights)}')
        checkpoint['state_dict'] = weights
