# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Train a model from a recipe."""
import argparse
import os

from srdensenet_mm.config.cfg_options import CfgOptions
from srdensenet_mm.errors import run_tool
from srdensenet_mm.files import path_from_here


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config', help='config file, name of a recipe, or package::path of an installed one')
    parser.add_argument(
        '--work-dir', metavar='FOLDER',
        help="folder for logs and checkpoints (default: the config's, or work_dirs/NAME_OF_CONFIG)")
    parser.add_argument(
        '--resume', nargs='?', const=True, default=False, metavar='CHECKPOINT',
        help='go on from the newest checkpoint in the work folder, or from the one given')
    parser.add_argument('--amp', action='store_true',
                        help='train with mixed precision, in the type that suits the device')
    parser.add_argument(
        '--auto-scale-lr', action='store_true',
        help='scale the learning rate by the global batch size over the base batch size')
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE',
        help='override settings of the config, e.g. train_cfg.max_iters=1000 '
        'key="[a,b]" (quoted)')
    parser.add_argument(
        '--verbose', action='store_true',
        help="show MMEngine's whole log on the console, too; the log file always has it")
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
        help='what started the processes of one job; tools/dist_train.sh and slurm_train.sh '
        'give it (default: none)')
    # torch.distributed's launchers pass it in either spelling.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0,
                        help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main():
    args = parse_args()
    from srdensenet_mm.engine.running import load_config, train
    cfg = load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    train(cfg, resume=args.resume, amp=args.amp, auto_scale_lr=args.auto_scale_lr,
          verbose=args.verbose)
    print(f'Logs and checkpoints: {path_from_here(cfg.work_dir)}')


if __name__ == '__main__':
    run_tool(main)
