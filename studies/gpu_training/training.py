# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Train x4, then x3 and x2 from its trunk, in several runs, also on several machines."""
import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from srdensenet_mm.engine.optimizers.muon import MuonWithAdam
from srdensenet_mm.errors import UserError
from srdensenet_mm.files import atomic_write
from srdensenet_mm.images.matlab_bicubic import matlab_bicubic
from srdensenet_mm.models import SRDenseNet
from srdensenet_mm.models.dead_maps import (
    behind_conv_first,
    followed,
    input_means,
    revive,
    which_dead,
)

from .bare import ROOT
from .fast_network import Variant, upscale
from .images import Planes, luma, unpack
from .steps import Step, choose, make_optimizer
from .teachers import Teacher

STATE = 'state.pt'
# The largest total size of a machine's files that can be returned.
FILE_MIB = 16
# Steps at one rate, and between two samples of the average of the weights.
CHUNK = 20
SET5 = ROOT / 'tests' / 'data' / 'Set5' / 'HR'


def train(args: argparse.Namespace) -> None:
    """Go on with a training for some minutes; see the command's help.

    Raises:
        UserError: A file is missing, or the loss is no number.
    """
    began = time.time()
    deadline = began + 60 * args.minutes
    device = torch.device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    images, held_back = unpack(sorted(path for text in args.packs
                                      for path in Path(text).glob('images-*.tar')))
    print(f'{len(images)} images, {sum(i.size for i in images) / 3e6:.0f} megapixels, '
          f'{len(held_back)} held back: {time.time() - began:.0f} s', flush=True)
    state = newest([*args.out, *args.resume]) or dict(phase=0, seconds=0., steps=0, log=[])
    variant = state.get('variant') and Variant(**state['variant'])
    if args.variant:
        variant = Variant(**json.loads(args.variant))
    elif args.choose and device.type == 'cuda':
        variant = choose(args.choose, args.script)
    variant = variant or Variant(batch=args.batch)
    print(f'{variant}', flush=True)
    while state['phase'] < len(args.phases):
        # A set-up of a phase that leaves no time to train waits for the next run.
        if time.time() > deadline - args.reserve:
            break
        phase = state['phase']
        state = _phase(args, state, variant, images, held_back, device, deadline)
        if state['phase'] == phase:
            break
    print(f'{"finished" if state["phase"] == len(args.phases) else "to be continued"}: '
          f'{state["steps"]} steps, {time.time() - began:.0f} s', flush=True)


def newest(folders: list[str]) -> dict | None:
    """The most advanced state in some folders."""
    found = [torch.load(path, map_location='cpu', weights_only=True)
             for path in (Path(folder) / STATE for folder in folders) if path.exists()]
    return max(found, key=lambda state: (state['phase'], state['steps']), default=None)


def _phase(args, state: dict, variant: Variant, images, held_back, device, deadline) -> dict:
    scale, minutes = args.phases[state['phase']]
    plan, setup = 60 * minutes, time.time()
    torch.manual_seed(args.seed + state['steps'])
    network = SRDenseNet(upscale_factor=scale, **args.network).to(device)
    average = SRDenseNet(upscale_factor=scale, **args.network).to(device)
    optimizer = make_optimizer(network)
    _restore(args, state, network, average, optimizer)
    dtype = torch.bfloat16 if device.type == 'cuda' else torch.float32
    _check_same(network, variant, device)
    planes = Planes(images, scale, args.patch, args.sizes, device, args.seed + state['steps'])
    teachers = sorted(path for text in args.packs for path in Path(text).glob(f'*_x{scale}.ts.gz'))
    if teachers and args.share:
        budget = min(args.teacher_seconds, 0.5 * (deadline - time.time()))
        print(planes.teach(Teacher(teachers, device), args.share, budget), flush=True)
    _centre(network, optimizer, planes)  # before the step is captured
    step = Step(network, optimizer, planes, variant, dtype)
    sets = dict(set5=[cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
                      for path in sorted(SET5.glob('*.png'))], held_back=held_back)
    patches = patches_of(held_back or sets['set5'], scale, device)
    rate = args.rate * math.sqrt(variant.batch / 64)
    print(f'x{scale}: {planes.low_pixels / 1e6:.1f} million LR pixels, set-up '
          f'{time.time() - setup:.0f} s', flush=True)
    state.update(variant=vars(variant))
    saved = last = time.time()
    losses = []
    while state['seconds'] < plan and last < deadline - args.reserve / 6:
        progress = state['seconds'] / plan
        if args.revive_every and state['steps'] % args.revive_every < CHUNK:
            with followed(network, [average], [optimizer]):
                revive(network, dead_of(network, patches))
        # Maps change fast at first.
        if state['steps'] < 1000 or state['steps'] % 100 < CHUNK:
            _centre(network, optimizer, planes)
        losses.append(step(CHUNK, rate * _schedule(progress, args.warm_up, args.schedule)))
        if not losses[-1] < 1e3:
            raise UserError(f'step {state["steps"]}: the loss is {losses[-1]}; go on from the '
                            'last state with a lower --rate')
        state['steps'] += CHUNK
        _mix(average, network, min(args.average, 1 - 10 / (10 + state['steps'])), CHUNK)
        now = time.time()
        state['seconds'] += now - last
        last = now
        if now - saved > args.save_every:
            _save(args, state, network, average, optimizer, losses, sets, patches, scale)
            saved = last = time.time()
            losses = []
    return _save(args, state, network, average, optimizer, losses, sets, patches, scale,
                 last=state['seconds'] >= plan)


def _centre(network: nn.Module, optimizer: MuonWithAdam, planes: Planes) -> None:
    """Measure the means that the optimizer centres the kernels' inputs by."""
    means = input_means(network, planes.draw(8)[0])
    for conv in behind_conv_first(network):
        optimizer.centre(conv.weight, conv.bias, means[conv])


def _schedule(progress: float, warm_up: float, kind: str) -> float:
    """The rate at a part of the planned time, as a part of the highest."""
    if progress < warm_up:
        return (progress + 1e-3) / (warm_up + 1e-3)
    left = min(1, (1 - progress) / (1 - warm_up))
    return left if kind == 'linear' else 0.5 - 0.5 * math.cos(math.pi * left)


@torch.no_grad()
def _mix(average: nn.Module, network: nn.Module, decay: float, steps: int) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()),
                         1 - decay**steps)


def _restore(args, state: dict, network, average, optimizer) -> None:
    """Fill in what a state holds, or a published file, or the trunk of the phase before."""
    if 'weights' in state:
        vector_to_parameters(state['weights'].to(_device(network)), network.parameters())
        average.load_state_dict(network.state_dict())
        mean = parameters_to_vector(network.parameters()) + state['difference'].to(
            _device(network)).float()
        vector_to_parameters(mean, average.parameters())
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        for name, (values, indices) in state['optimizer'].items():
            own = [parameters[i] for i in indices]
            for p, part in zip(own, values.split([p.numel() for p in own]), strict=True):
                optimizer.state[p][name] = part.to(p.device, torch.float32).view_as(p).clone()
                if name == 'exp_avg':
                    optimizer.state[p]['step'] = torch.tensor(
                        state['adam_steps'], device=p.device)
        return
    start = state.get('trunk')
    if start is None and args.start:
        saved = torch.load(args.start, map_location='cpu', weights_only=True)
        start = {key.removeprefix('generator.'): value
                 for key, value in saved['state_dict'].items()}
    if start is not None:
        own = network.state_dict()
        fitting = {key: value for key, value in start.items()
                   if key in own and own[key].shape == value.shape}
        network.load_state_dict({**own, **fitting})
        print(f'{len(fitting)} of {len(own)} tensors from before', flush=True)
    average.load_state_dict(network.state_dict())


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _save(args, state: dict, network, average, optimizer, losses, sets, patches, scale,
          last=False) -> dict:
    """Write the state into every folder, with scores; at a phase's end its weights too."""
    entry = dict(scale=scale, iter=state['steps'], seconds=round(state['seconds'], 1),
                 loss=float(np.mean(losses)) if losses else None,
                 lr=float(optimizer.param_groups[0]['lr']) if losses else None)
    for name, images in sets.items():
        if images:
            entry[name] = round(score(average, images, scale), 4)
    entry['dead'] = [int(dead.sum()) for dead in dead_of(average, patches)[1:]]
    state['log'].append(entry)
    print(json.dumps(entry), flush=True)
    weights = parameters_to_vector(network.parameters()).detach()
    difference = parameters_to_vector(average.parameters()).detach() - weights
    parameters = [p for group in optimizer.param_groups for p in group['params']]
    held = {}
    for name, dtype in (('momentum', torch.bfloat16), ('exp_avg', torch.float32),
                        ('exp_avg_sq', torch.float32)):
        indices = [i for i, p in enumerate(parameters) if name in optimizer.state[p]]
        if indices:
            values = torch.cat([optimizer.state[parameters[i]][name].flatten() for i in indices])
            held[name] = (values.to(dtype).cpu(), indices)
    count = next((float(optimizer.state[p]['step']) for p in parameters
                  if 'step' in optimizer.state[p]), 0.)
    # Whole files of less than what may come back: averages and momentum in 16 bits.
    written = {STATE: dict(
        {key: state[key] for key in ('phase', 'seconds', 'steps', 'log', 'variant')},
        weights=weights.cpu(), difference=difference.bfloat16().cpu(), optimizer=held,
        adam_steps=count)}
    if last:
        written[f'x{scale}.pt'] = dict(
            state_dict={key: value.cpu() for key, value in average.state_dict().items()},
            scale=scale, iter=state['steps'], network=args.network, log=state['log'])
        # The next phase begins with what this file holds, whenever it does.
        written[STATE] = dict(
            phase=state['phase'] + 1, seconds=0., steps=state['steps'], log=state['log'],
            variant=state['variant'], trunk=written[f'x{scale}.pt']['state_dict'])
    for folder in args.out:
        # The state last: it says that the weights before it are there.
        for name in sorted(written, reverse=True):
            with atomic_write(Path(folder) / name) as temporary:
                torch.save(written[name], temporary)
                if temporary.stat().st_size > FILE_MIB * 2**20:
                    raise UserError(f'{folder}/{name}: is larger than {FILE_MIB} MiB')
    return written[STATE]


@torch.no_grad()
def score(network: nn.Module, images: list[np.ndarray], scale: int) -> float:
    """Mean PSNR on Y, GTmod12, ``scale`` pixels of border cropped, by the plain forward."""
    found = []
    for image in images:
        height, width = (side // 12 * 12 for side in image.shape[:2])
        image = np.ascontiguousarray(image[:height, :width])
        low, high = luma(matlab_bicubic(image, scale)), luma(image)
        out = network(low[None, None].to(_device(network))).cpu()[0, 0].clamp(16 / 255, 235 / 255)
        error = 255 * (out - high)[scale:-scale, scale:-scale].double()
        found.append(10 * math.log10(255**2 / error.square().mean().item()))
    return float(np.mean(found))


def patches_of(images: Sequence[np.ndarray], scale: int, device: torch.device) -> list[Tensor]:
    """A part of each image's LR that tells which maps are dead."""
    return [luma(matlab_bicubic(np.ascontiguousarray(image[:128 * scale, :128 * scale]), scale))
            [None, None].to(device) for image in images]


def dead_of(network: nn.Module, patches: Sequence[Tensor]) -> list[Tensor]:
    """Which maps of ``conv_first`` and of each block are zero on all patches."""
    return [torch.stack(maps).all(dim=0) for maps in zip(
        *(which_dead(network, patch).values() for patch in patches), strict=True)]


@torch.no_grad()
def _check_same(network: nn.Module, variant: Variant, device: torch.device) -> None:
    """The variant computes what the package's network does."""
    x = torch.rand(2, 1, 12, 14, device=device)
    allow = torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    expected = network.eval()(x)
    off = (upscale(network, x, variant, torch.float32) - expected).abs().max().item()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allow
    if not off <= 1e-3 * max(1, expected.abs().max().item()):
        raise UserError(f'{variant}: is {off} off the network')
