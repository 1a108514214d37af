# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Compare networks that are trained on the same patches for as many iterations.

An entry is NAME=CONFIG: the network, loss and colours of a recipe, ours or
MMagic's, trained as configs/srdensenet_x4_short.py says. With ``@own`` behind
it, the recipe's own optimizer and learning rate are kept. Seeds are the same,
so all see the same patches in the same order. The last weights are scored, none
are selected.

    python studies/same_budget.py All=configs/srdensenet_x4_div2k.py \
        HL=configs/srdensenet_hl_x4_div2k.py H=configs/srdensenet_h_x4_div2k.py \
        EDSR=mmagic::edsr/edsr_x4c64b16_1xb16-300k_div2k.py@own --iters 800

Needs what the recipe names: data/train, data/Set5, data/Set14. A call cut short
is given again; what was trained is not trained again.
"""
import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from srdensenet_mm.errors import UserError, run_tool  # noqa: E402

TRAINING = ROOT / 'configs/srdensenet_x4_short.py'


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('entries', nargs='+', metavar='NAME=CONFIG[@own]')
    parser.add_argument('--iters', type=int, default=800, help='iterations (default: 800)')
    parser.add_argument('--batch', type=int, default=8, help='patches in a batch (default: 8)')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/same_budget'), metavar='FOLDER',
        help='for checkpoints, logs and scores.json (default: work_dirs/same_budget)')
    return parser.parse_args(arguments)


def parse_entries(texts: Sequence[str]) -> dict[str, tuple[str, bool]]:
    """Name -> the config, and whether its own optimizer is kept."""
    found = {}
    for text in texts:
        name, _, config = text.partition('=')
        if not name or not config or name in found or '/' in name:
            raise UserError(f'{text}: give NAME=CONFIG, each name once')
        own = config.endswith('@own')
        found[name] = config.removesuffix('@own'), own
    return found


def training_of(config: str, own: bool, iters: int, batch: int, work_dir: Path):
    """The shared recipe with an entry's model and, if ``own``, its optimizer."""
    from srdensenet_mm.engine.running import load_config
    cfg = load_config(str(TRAINING), str(work_dir))
    theirs = load_config(config)
    scale = cfg.model.generator.upscale_factor
    if theirs.model.generator.get('upscale_factor') != scale:
        raise UserError(f'{config}: the entries are trained for x{scale}')
    cfg.model = theirs.model
    cfg.train_cfg.update(max_iters=iters, val_interval=iters)
    cfg.train_dataloader.batch_size = batch
    cfg.default_hooks.checkpoint.save_best = None
    if own:
        cfg.optim_wrapper, cfg.param_scheduler = theirs.optim_wrapper, theirs.param_scheduler
    else:
        warm_up, falling = cfg.param_scheduler
        warm_up.end = falling.begin = min(warm_up.end, max(1, iters // 10))
        falling.end = iters
    return cfg


def claim(folder: Path, **training) -> None:
    """Record the settings of a folder's training, which must be the same when it is resumed."""
    for name in ('training.json', 'scores.json'):
        found = read(folder / name)
        if found and any(found[key] != value for key, value in training.items()):
            raise UserError(f'{folder / name}: is of another training; choose another --out')
    write(folder / 'training.json', training)


def read(file: Path) -> dict:
    """The content of a JSON file; empty where it is missing."""
    return json.loads(file.read_text()) if file.is_file() else {}


def write(file: Path, content: dict) -> None:
    """Make a JSON file, whole or not at all."""
    from srdensenet_mm.files import atomic_write
    with atomic_write(file) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + '\n')


def run(config: str, own: bool, iters: int, batch: int, work_dir: Path) -> dict:
    """Train an entry, or finish it. Returns its size, seconds per iteration and scores."""
    cfg = training_of(config, own, iters, batch, work_dir)
    runner, scores = train_and_score(
        cfg, training_of(config, own, iters, batch, work_dir / 'test'))
    times = [value for value in runner.message_hub.get_scalar('train/time').data[0] if value]
    return dict(
        config=config, optimizer=cfg.optim_wrapper.optimizer.type, own=own, iters=iters,
        batch=batch, parameters=sum(p.numel() for p in runner.model.generator.parameters()),
        seconds_an_iteration=median(times), scores=scores)


def train_and_score(cfg, test_cfg):
    """Train, or finish a training, and score its last weights.

    Args:
        cfg (Config): The training.
        test_cfg (Config): The same, with a work folder for the test.

    Returns:
        tuple[Runner, dict[str, float]]: The training's Runner, and the metrics.
    """
    from srdensenet_mm.engine.running import test, train
    iters, work_dir = cfg.train_cfg.max_iters, cfg.work_dir
    runner = train(cfg, resume=True)
    return runner, test(test_cfg, f'{work_dir}/iter_{iters}.pth')


def table(results: dict[str, dict]) -> str:
    """Markdown; PSNR and SSIM on Y."""
    lines = ['| network | optimizer, rate falling or its own | parameters | s an iteration | '
             'Set5 | Set14 |', '| --- | --- | ---: | ---: | --- | --- |']
    for name, result in results.items():
        cells = [f'{result["scores"][f"{data}-Y/PSNR"]:.2f} / '
                 f'{result["scores"][f"{data}-Y/SSIM"]:.4f}' for data in ('Set5', 'Set14')]
        kind = f'{result["optimizer"]}, {"its own" if result["own"] else "falling"}'
        lines.append(f'| {name} | {kind} | {result["parameters"]:,} | '
                     f'{result["seconds_an_iteration"]:.2f} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    entries = parse_entries(args.entries)
    results = {}
    for name, (config, own) in entries.items():
        claim(args.out / name, config=config, own=own, iters=args.iters, batch=args.batch)
        found = read(args.out / name / 'scores.json')
        if not found:
            found = run(config, own, args.iters, args.batch, args.out / name)
            write(args.out / name / 'scores.json', found)
        results[name] = found
    print(table(results))


if __name__ == '__main__':
    run_tool(main)
