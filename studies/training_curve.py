# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Make one log and one curve of a training with phases and resumed runs.

    python studies/training_curve.py work_dirs/srdensenet_x4 work_dirs/further \
        --out checkpoints/srdensenet_x4

reads the scalars that MMEngine wrote into each work folder, in the order of
the runs; where a resumed run repeats iterations, its values count. Iterations
of a phase are counted on from the one before, which FOLDER:ITERATIONS ends
where the next one began; an iteration of GraphedTrainLoop counts as its steps.
A log that this script wrote stands for its phases, whose folders may be gone.
Written are PATH.log.jsonl, one line for each entry, and PATH.png.
"""
import argparse
import itertools
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from srdensenet_mm.errors import UserError, run_tool  # noqa: E402
from srdensenet_mm.files import atomic_write  # noqa: E402

KEPT = ('loss', 'lr', 'time')
# Of a recipe with several test sets, metrics begin with the set's name.
METRICS = ('PSNR', 'SSIM')
COLOURS = ('#d1480b', '#1f6fb2', '#2f8f4e', '#8a4fb0')


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('work_dirs', nargs='+', metavar='FOLDER[:ITERATIONS]',
                        help='work folders of the phases, in order, or PATH.log.jsonl of some')
    parser.add_argument('--out', required=True, metavar='PATH')
    return parser.parse_args(arguments)


def _steps_per_iter(scalars: Path) -> int:
    """The optimizer's steps in an iteration, by the config beside the scalars."""
    config = scalars.with_name('config.py')
    if not config.exists():
        return 1
    return Config.fromfile(config, import_custom_modules=False).train_cfg.get('steps_per_iter', 1)


def read_phase(text: str) -> list[dict]:
    """The entries of one ``FOLDER[:ITERATIONS]``; validations behind trainings."""
    name, _, end = str(text).rpartition(':')
    folder, last = (Path(name), int(end)) if name and end.isdigit() else (Path(text), math.inf)
    if folder.is_file():
        return [entry for entry in read_log(folder) if entry['iter'] <= last]
    found = {}
    files = sorted(folder.glob('*/vis_data/scalars.json'))
    for file in files:
        trained, steps = 0, _steps_per_iter(file)
        for line in file.read_text(encoding='utf-8').splitlines():
            entry = json.loads(line)
            validation = any(key.endswith(METRICS) for key in entry)
            # By MMEngine's default, validations count epochs, and there are none.
            trained = steps * entry['step'] or trained
            kept = {key: value for key, value in entry.items()
                    if key in KEPT or key.endswith(METRICS)}
            if kept:  # not what other hooks write, such as the shares of dead maps
                found[trained, validation] = kept
    if not found:
        raise UserError(f'{folder}: holds no scalars of a run (looked for '
                        '*/vis_data/scalars.json)')
    return [dict(iter=step, **found[step, validation]) for step, validation in sorted(found)
            if step <= last]


def read_log(file: Path) -> list[dict]:
    """The entries of a log that this script wrote."""
    try:
        entries = [json.loads(line) for line in file.read_text(encoding='utf-8').splitlines()]
        if entries and all({'iter', 'phase'} <= entry.keys() for entry in entries):
            return entries
    except (ValueError, AttributeError):
        pass
    raise UserError(f'{file}: is no log of this script (PATH.log.jsonl)')


def join(parts: Sequence[list[dict]]) -> list[dict]:
    """All parts' entries, their iterations and phases counted on."""
    entries, done, phase = [], 0, 0
    for part in parts:
        entries += [dict(entry, iter=done + entry['iter'], phase=phase + entry.get('phase', 0))
                    for entry in part]
        done, phase = entries[-1]['iter'], entries[-1]['phase'] + 1
    return entries


def draw(entries: Sequence[dict], path: Path) -> None:
    """PSNR on Y of each test set over iterations, the loss faint beside it."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(8, 4.5), dpi=120, layout='constrained')
    axes = figure.add_subplot()
    losses = [(entry['iter'], entry['loss']) for entry in entries if 'loss' in entry]
    beside = axes.twinx()
    beside.plot(*zip(*losses, strict=True), color='#8a97a5', linewidth=0.8, alpha=0.6)
    beside.set_yscale('log')
    beside.set_ylabel('loss (gray)')
    names = dict.fromkeys(key for entry in entries for key in entry
                          if key.endswith('PSNR') and 'RGB' not in key)
    lowest, highest = math.inf, -math.inf
    for name, colour in zip(names, itertools.cycle(COLOURS)):
        scores = [(entry['iter'], entry[name]) for entry in entries if name in entry]
        axes.plot(*zip(*scores, strict=True), 'o-', color=colour, markersize=3)
        best = max(scores, key=lambda score: score[1])
        test_set = name.removesuffix('PSNR').rstrip('/').removesuffix('-Y')
        axes.annotate(f'{test_set} {best[1]:.2f} dB'.lstrip(), best,
                      textcoords='offset points', xytext=(-8, 8), ha='right', color=colour)
        highest = max(highest, best[1])
        # The first validations are meaningless: the average still contains the initial weights.
        lowest = min(lowest, max(best[1] - 2.5, min(score[1] for score in scores)))
    axes.set_ylim(lowest, highest + 0.1 * max(highest - lowest, 0.1))
    axes.set_xlabel('iteration')
    axes.set_ylabel('PSNR on Y, validation (dB)')
    axes.set_zorder(beside.get_zorder() + 1)
    axes.set_frame_on(False)
    figure.savefig(path, format='png')


def main() -> None:
    args = parse_args()
    entries = join([read_phase(text) for text in args.work_dirs])
    with atomic_write(f'{args.out}.log.jsonl') as temporary:
        temporary.write_text(
            ''.join(json.dumps(entry) + '\n' for entry in entries), encoding='utf-8')
    with atomic_write(f'{args.out}.png') as temporary:
        draw(entries, temporary)
    print(f'{len(entries)} entries up to iteration {entries[-1]["iter"]}: '
          f'{args.out}.log.jsonl, {args.out}.png')


if __name__ == '__main__':
    run_tool(main)
