# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Score a checkpoint on a recipe's test sets."""
import argparse
import os

from srdensenet_mm.config.cfg_options import CfgOptions
from srdensenet_mm.errors import run_tool


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config', help='config file, name of a recipe, or package::path of an installed one')
    parser.add_argument('checkpoint', help='weights: of a training, published or converted')
    parser.add_argument('--out', metavar='FILE', help='file for the scores: .json or .yaml')
    parser.add_argument(
        '--work-dir', metavar='FOLDER',
        help="folder for the log (default: the config's, or work_dirs/NAME_OF_CONFIG)")
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE',
        help='override settings of the config, e.g. model.test_cfg.self_ensemble=True '
        'key="[a,b]" (quoted)')
    parser.add_argument(
        '--verbose', action='store_true',
        help="show MMEngine's whole log on the console, too; the log file always has it")
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
        help='what started the processes of one job; tools/dist_test.sh and slurm_test.sh give it '
        '(default: none)')
    # torch.distributed's launchers pass it in either spelling.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0,
                        help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main():
    args = parse_args()
    from srdensenet_mm.engine.running import check_scores_file, load_config, save_scores, test
    if args.out:
        check_scores_file(args.out)
    cfg = load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    scores = test(cfg, args.checkpoint, verbose=args.verbose)
    if args.out:
        save_scores(scores, args.out)


if __name__ == '__main__':
    run_tool(main)
