# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Kill a training again and again, and compare it with an undisturbed one.

Each run ends with SIGKILL to the process and its data-loader workers: at a
random moment of training, while a checkpoint is written, during a validation,
or while the run starts and resumes. In the end, losses, files of each batch,
final weights, their averages, optimizer, schedulers and the best checkpoint are
compared, bit by bit.

    python studies/kill_and_resume.py --kills 40 --out kill_and_resume.json
"""
import argparse
import collections
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import tiny_training  # noqa: E402
import torch  # noqa: E402
from forked_jobs import fork  # noqa: E402

from srdensenet_mm.engine.running import load_config, train  # noqa: E402
from srdensenet_mm.errors import run_tool  # noqa: E402

MOMENTS = ('training', 'saving', 'validating', 'starting')
# Checkpoints hold this much more, so that writing one takes some time.
BALLAST_MIB = 24


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--iters', type=int, default=300)
    parser.add_argument('--interval', type=int, default=10, help='between checkpoints')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--out', help='JSON file for the counts')
    return parser.parse_args()


def start(config: Path) -> int:
    """Run or resume the training in a forked child, which inherits the imports."""
    return fork(
        lambda: train(load_config(str(config), str(config.parent / 'work')), resume=True),
        config.parent / 'log.txt')


def wait_for(moment: str, folder: Path, process: int, dice: random.Random) -> bool:
    """Wait for a moment to kill; False when the training ended before."""
    losses = folder / 'losses.txt.0'
    before = number_of_lines(losses)
    (folder / 'validating').unlink(missing_ok=True)
    iterations = dice.randint(1, 25) if moment == 'training' else 1
    # At a random time within an iteration, a save or a validation.
    delay = dice.uniform(0, 0.5 if moment == 'starting' else 0.04)
    deadline = None
    while True:
        if os.waitpid(process, os.WNOHANG)[0]:
            return False
        trains = number_of_lines(losses) >= before + iterations
        if deadline is None and (
                moment == 'starting' or trains and (
                    moment == 'training'
                    or moment == 'saving' and list((folder / 'work').glob('.*.pth'))
                    or moment == 'validating' and (folder / 'validating').exists())):
            deadline = time.monotonic() + delay
        if deadline is not None and time.monotonic() >= deadline:
            return True
        time.sleep(0.0005)


def number_of_lines(path: Path) -> int:
    return path.read_bytes().count(b'\n') if path.exists() else 0


def read_losses(folder: Path) -> dict:
    """Iteration -> all lines that were ever written for it."""
    lines = collections.defaultdict(list)
    for line in (folder / 'losses.txt.0').read_text().splitlines():
        if line.count(' ') == 2 and line.endswith('.png'):  # not cut short by a kill
            number, rest = line.split(' ', 1)
            lines[int(number)].append(rest)
    return lines


def flat(value, name=''):
    """All leaves of a checkpoint, by name."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, f'{name}.{key}')
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from flat(item, f'{name}.{i}')
    else:
        yield name, value


def differences(first: Path, second: Path) -> list:
    """Names of the values that differ, bit by bit, between two checkpoints' states."""
    found = []
    states = []
    for path in (first, second):
        content = torch.load(path, weights_only=True)
        states.append(dict(flat({key: content.get(key) for key in (
            'state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')})))
    for name in states[0].keys() | states[1].keys():
        a, b = (state.get(name) for state in states)
        same = torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(
            b, torch.Tensor) else a == b
        if not same:
            found.append(name)
    return sorted(found)


def config_in(folder: Path, args: argparse.Namespace) -> Path:
    folder.mkdir()
    path = tiny_training.tiny_config(
        folder, max_iters=args.iters, interval=args.interval, pause=0.01)
    text = path.read_text().replace(
        'custom_hooks = [',
        f"custom_hooks = [dict(type='Ballast', mib={BALLAST_MIB}, folder={str(folder)!r}),")
    path.write_text(text)
    return path


def run(args: argparse.Namespace, folder: Path) -> dict:
    dice = random.Random(args.seed)
    reference = config_in(folder / 'alone', args)
    status = os.waitpid(start(reference), 0)[1]
    if status:
        raise RuntimeError((reference.parent / 'log.txt').read_text()[-3000:])

    config = config_in(folder / 'killed', args)
    counts = collections.Counter()
    cut_writes = 0
    alive = True
    while sum(counts.values()) < args.kills and alive:
        moment = MOMENTS[sum(counts.values()) % len(MOMENTS)]
        process = start(config)
        alive = wait_for(moment, config.parent, process, dice)
        if alive:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            counts[moment] += 1
            cut_writes += bool(list((config.parent / 'work').glob('.*.pth')))
    if not alive:
        raise RuntimeError(f'the training was over after {sum(counts.values())} kills, or failed: '
                           'give more --iters, or see the end of its log:\n'
                           + (config.parent / 'log.txt').read_text()[-3000:])
    reached = max(read_losses(config.parent))
    status = os.waitpid(start(config), 0)[1]
    if status:
        raise RuntimeError((config.parent / 'log.txt').read_text()[-3000:])

    alone, killed = read_losses(reference.parent), read_losses(config.parent)
    work = [path.parent / 'work' for path in (reference, config)]
    best = [sorted(path.name for path in one.glob('best_*.pth')) for one in work]
    names = [sorted(path.name for path in one.iterdir() if path.suffix == '.pth') for one in work]
    return dict(
        kills=sum(counts.values()),
        kills_by_moment=dict(counts),
        kills_with_a_half_written_checkpoint=cut_writes,
        iterations=args.iters,
        reached_before_last_life=reached + 1,
        iterations_done_more_than_once=sum(len(lines) > 1 for lines in killed.values()),
        iterations_missing=sorted(set(alone) - set(killed)),
        iterations_that_differ=[number for number in sorted(alone)
                                if set(killed[number]) != set(alone[number])],
        final_state_differs_in=differences(*(one / f'iter_{args.iters}.pth' for one in work)),
        files=names[1],
        same_files=names[0] == names[1],
        best_checkpoint=best[1],
        best_checkpoint_differs_in=(
            differences(*(one / best[0][0] for one in work)) if best[0] == best[1] else ['name']))


def main() -> int:
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(args, Path(folder))
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        Path(args.out).write_text(text + '\n')
    same = not (result['iterations_missing'] or result['iterations_that_differ']
                or result['final_state_differs_in'] or result['best_checkpoint_differs_in'])
    return 0 if same and result['same_files'] else 1


if __name__ == '__main__':
    run_tool(main)
