# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Training steps that run on the GPU alone; the CPU only keeps the schedule."""
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat

import torch
from mmagic.registry import DATASETS, LOOPS
from mmagic.structures import DataSample
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop
from torch import Tensor
from torch.optim import Optimizer

from srdensenet_mm.config.type_name import type_name
from srdensenet_mm.datasets.resident_patches import ResidentPatches
from srdensenet_mm.datasets.transforms import RandomPatchPair
from srdensenet_mm.errors import UserError

from .resumable_loop import NotStarted, ResumableIterTrainLoop

_OTHER_DATA = ('train_dataloader.dataset: GraphedTrainLoop draws patches itself, of an '
               'HRFolderDataset by the steps RandomPatchPair, Flip, RandomTransposeHW and '
               "PackInputs; for others use train_cfg.type='ResumableIterTrainLoop'")
# Steps before the capture, in which libraries choose kernels and allocate workspaces.
_WARM_UP = 3


@LOOPS.register_module()
class GraphedTrainLoop(ResumableIterTrainLoop):
    """Optimizer steps as CUDA graphs, on patches that are cut on the GPU.

    The network has thousands of small kernels. A GPU computes them faster than
    a CPU launches them, and uses more patches a second than data-loader workers
    make. So one whole step (patches, forward and backward pass, clipping,
    optimizer) is captured once and replayed. The images are kept in the GPU's
    memory (uncompressed, 3 bytes a pixel). Without a GPU, the same steps run
    one by one.

    The recipe is the same as for :class:`ResumableIterTrainLoop`: this loop
    reads batch size, folders, scale, patch size and pipeline from
    ``train_dataloader``. An iteration of the Runner, with its hooks, learning
    rates and log, is ``steps_per_iter`` steps. Resuming is exact here too. A
    graph's random numbers differ from those of the CPU.

    The recipe's ``compile``, MMEngine's key (``True``, or arguments of
    ``torch.compile``), compiles the network and its loss first. That takes a
    minute and removes about a third of the kernels.

    Args:
        runner (Runner): The runner. Its model is an editing model of MMagic
            whose loss needs ``gt_img`` alone, its optimizer ``MuonWithAdam``, or
            one of torch's with ``capturable=True``.
        dataloader (dict): The training data: an ``HRFolderDataset`` whose
            pipeline is ``RandomPatchPair``, then any of ``Flip`` and
            ``RandomTransposeHW``, then ``PackInputs``.
        steps_per_iter (int): Optimizer steps in an iteration, at one learning
            rate. With 10, the hooks' time no longer counts. Defaults to 1.
        **kwargs: ``max_iters``, ``val_begin``, ``val_interval`` and
            ``dynamic_intervals`` of MMEngine's ``IterBasedTrainLoop``.

    Raises:
        UserError: The training data is another, there are several processes, or
            mixed precision is in fp16, whose scaler waits for each step.
    """

    def __init__(self, runner, dataloader: dict, steps_per_iter: int = 1, **kwargs):
        if get_world_size() > 1 or is_model_wrapper(runner.model):
            raise UserError("train_cfg.type='GraphedTrainLoop' trains on one GPU, without a "
                            "launcher: use 'ResumableIterTrainLoop' with several processes")
        if type_name(dataloader['dataset'].get('type')) != 'HRFolderDataset':
            raise UserError(_OTHER_DATA)
        self.batch_size = dataloader['batch_size']
        self.steps_per_iter = steps_per_iter
        dataset = DATASETS.build(dataloader['dataset'])
        pair, turns = _read_pipeline(dataset.pipeline.transforms)
        drawn = self.batch_size * steps_per_iter
        IterBasedTrainLoop.__init__(
            self, runner, NotStarted(dataset, max(1, len(dataset) // drawn)), **kwargs)
        images = map(dataset.images if dataset.shares else dataset.image, range(len(dataset)))
        self.patches = ResidentPatches(
            (image for image in images if image is not None), pair.scale,
            pair.gt_patch_size, next(runner.model.parameters()).device, turns, dataset.shares)

    def _start(self) -> Iterator:
        settings = self.runner.cfg.get('compile')
        if settings:
            # MMEngine compiles train_step, which is never called here.
            model = self.runner.model
            model.forward_train = torch.compile(
                model.forward_train, **(settings if isinstance(settings, dict) else {}))
        self._step = GraphedStep(
            self.runner.model, self.runner.optim_wrapper,
            lambda: self.patches.draw(self.batch_size))
        return repeat(None)

    def run_iter(self, data_batch: None) -> None:
        self.runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=None)
        outputs = self._step(self.steps_per_iter)
        # MMEngine's schedulers count the wrapper's steps, and warn where there was none.
        wrapper = self.runner.optim_wrapper
        wrapper._global_step = getattr(wrapper, '_global_step', 0) + self.steps_per_iter
        self.runner.call_hook(
            'after_train_iter', batch_idx=self._iter, data_batch=None, outputs=outputs)
        self._iter += 1


class GraphedStep:
    """A training step, captured as a CUDA graph where there is a GPU.

    Args:
        model (BaseModel): An editing model of MMagic.
        optim_wrapper (OptimWrapper): Its optimizer, in fp32 or bf16.
        draw (Callable): Returns uint8 batches, LR and HR, shape (N, 3, H, W).
            Must not wait for the GPU.

    Raises:
        UserError: There are several wrappers, or it accumulates gradients or
            computes in fp16. On a GPU: the optimizer's steps cannot be captured.
    """

    def __init__(self, model, optim_wrapper, draw: Callable[[], tuple[Tensor, Tensor]]):
        scaler = getattr(optim_wrapper, 'loss_scaler', None)
        if (isinstance(optim_wrapper, OptimWrapperDict) or optim_wrapper._accumulative_counts != 1
                or scaler is not None and scaler.is_enabled()):
            raise UserError('optim_wrapper: GraphedTrainLoop steps one optimizer, not several, at '
                            "each batch (accumulative_counts=1), in dtype='bf16' or 'fp32', not "
                            "fp16; for others use train_cfg.type='ResumableIterTrainLoop'")
        self.model = model
        self.wrapper = optim_wrapper
        self.draw = draw
        self.groups = optim_wrapper.optimizer.param_groups
        self.parameters = [p for group in self.groups for p in group['params']]
        device = self.parameters[0].device
        if device.type == 'cuda':
            check_capturable(optim_wrapper.optimizer)
        # A graph reads from and writes to the same places at each replay.
        self.rates = [torch.zeros((), device=device) for _ in self.groups]
        self.sums: dict[str, Tensor] = {}
        self.graph = None
        if device.type == 'cuda':
            model.train()
            self._capture()

    def __call__(self, steps: int) -> dict[str, Tensor]:
        """Take some steps at the groups' present learning rates.

        Args:
            steps (int): Number of steps.

        Returns:
            Dict[str, Tensor]: Means over these steps of the losses, and of the
            gradients' norm where it is clipped: scalars on the device.
        """
        for rate, group in zip(self.rates, self.groups, strict=True):
            rate.fill_(group['lr'])
        for total in self.sums.values():
            total.zero_()
        for _ in range(steps):
            if self.graph is None:
                self._step()
            else:
                self.graph.replay()
        return {name: total / steps for name, total in self.sums.items()}

    def _step(self) -> None:
        self.wrapper.zero_grad(set_to_none=True)
        low, high = map(self._normalize, self.draw())
        with self.wrapper.optim_context(self.model):
            losses = self.model(low, DataSample(gt_img=high), mode='loss')
        loss, logged = self.model.parse_losses(losses)
        loss.backward()
        logged = dict(logged)
        if self.wrapper.clip_grad_kwargs:
            logged['grad_norm'] = self.wrapper.clip_func(
                self.parameters, **self.wrapper.clip_grad_kwargs)
        with self._rates_as_tensors():
            self.wrapper.optimizer.step()
        for name, value in logged.items():
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(value, dtype=torch.float32)
            self.sums[name] += value.detach()

    def _normalize(self, batch: Tensor) -> Tensor:
        """Normalize an RGB batch as MMagic's preprocessor does."""
        preprocessor = self.model.data_preprocessor
        # Its own conversion sends an index to the GPU, which no graph can hold.
        if preprocessor.output_channel_order == 'BGR':
            batch = batch.flip(1)
        return preprocessor._do_norm(batch.float())

    @contextmanager
    def _rates_as_tensors(self):
        floats = [group['lr'] for group in self.groups]
        for group, rate in zip(self.groups, self.rates, strict=True):
            group['lr'] = rate
        try:
            yield
        finally:
            for group, rate in zip(self.groups, floats, strict=True):
                group['lr'] = rate

    @torch.no_grad()
    def _restore(self, before: dict[int, Tensor]) -> None:
        """Restore the state; tensors that did not exist before are set to zero."""
        for tensor in self._state():
            if id(tensor) in before:
                tensor.copy_(before[id(tensor)])
            else:
                tensor.zero_()

    def _capture(self) -> None:
        before = {id(tensor): tensor.detach().clone() for tensor in self._state()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._step()
        # Even at a learning rate of 0, the steps so far have changed the optimizer's averages.
        self._restore(before)
        print_log('A training step is captured as a CUDA graph.', 'current')

    def _state(self) -> list[Tensor]:
        """All tensors that training changes, the gradients aside."""
        optimizer = self.wrapper.optimizer
        return [*self.model.state_dict(keep_vars=True).values()] + [
            value for state in optimizer.state.values() for value in state.values()
            if isinstance(value, Tensor)]


def check_capturable(optimizer: Optimizer) -> None:
    """Refuse an optimizer of torch whose step waits for a value from the GPU.

    Raises:
        UserError: It could be captured, but is not set so.
    """
    if any(group.get('capturable') is False for group in optimizer.param_groups):
        raise UserError(f'optim_wrapper.optimizer: {type(optimizer).__name__} is captured by '
                        'GraphedTrainLoop only with capturable=True: add --cfg-options '
                        'optim_wrapper.optimizer.capturable=True')


def _read_pipeline(
        steps: Sequence[Callable]) -> tuple[RandomPatchPair, list[tuple[str, float]]]:
    """A pipeline's first step, and the flips and transposes of the others with their chances."""
    kinds = [type(step).__name__ for step in steps]
    if kinds[:1] != ['RandomPatchPair'] or kinds[-1] != 'PackInputs' or (
            not {*kinds[1:-1]} <= {'Flip', 'RandomTransposeHW'}):
        raise UserError(f'{_OTHER_DATA} (the pipeline is {", ".join(kinds)})')
    return steps[0], [(step.direction, step.flip_ratio) if kind == 'Flip' else
                      ('transpose', step.transpose_ratio)
                      for kind, step in zip(kinds[1:-1], steps[1:-1], strict=True)]
