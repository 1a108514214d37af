# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Make GTmod12 and LRbicx folders from a folder of high-resolution images.

    python tools/prepare_dataset.py HR_FOLDER OUT_FOLDER --scales 2 3 4

OUT_FOLDER/GTmod12 holds the images cropped to a multiple of 12. OUT_FOLDER/LRbicx2, ... hold
their MATLAB bicubic, equal to MATLAB's imresize in every pixel. A scale that does not divide 12
has its own ground truth: LRbicx8 belongs to GTmod8. All are 8-bit RGB PNG files with the images'
stems. MMagic's BasicImageDataset reads them with data_prefix=dict(img='LRbicx4', gt='GTmod12').

Folders below HR_FOLDER are searched too. Read is what Pillow or OpenCV reads:
  grayscale        becomes three equal channels, as in the field's protocol
  alpha            is dropped, the colours below it stay
  16 bits          become 8: divided by 257 and rounded
  palette, CMYK    become RGB
  EXIF orientation is applied
  floating point   is refused
A broken image, or one smaller than 12 pixels, is reported. The others are made, and the exit
status is 1. Files with their image's time of modification are kept, all others are overwritten.
After Ctrl-C, a second call continues where the first one stopped.

DIV2K in MMagic's layout, from the HR images alone (DIV2K's sides are multiples of 12):

    python tools/prepare_dataset.py data/DIV2K/DIV2K_train_HR data/DIV2K/made --scales 4
    mkdir -p data/DIV2K/DIV2K_train_LR_bicubic
    mv data/DIV2K/made/LRbicx4 data/DIV2K/DIV2K_train_LR_bicubic/X4
    MMAGIC=$(python -c 'import mmagic; print(mmagic.__path__[0])')
    python $MMAGIC/.mim/tools/dataset_converters/div2k/preprocess_div2k_dataset.py \\
        --data-root data/DIV2K --scales 4

These sides are no multiples of 8. So x8 is made from GTmod8, or the outermost pairs would differ:

    python tools/prepare_dataset.py data/DIV2K/DIV2K_train_HR data/DIV2K_x8/made --scales 8
    mkdir -p data/DIV2K_x8/DIV2K_train_LR_bicubic
    mv data/DIV2K_x8/made/GTmod8 data/DIV2K_x8/DIV2K_train_HR
    mv data/DIV2K_x8/made/LRbicx8 data/DIV2K_x8/DIV2K_train_LR_bicubic/X8
    python $MMAGIC/.mim/tools/dataset_converters/div2k/preprocess_div2k_dataset.py \\
        --data-root data/DIV2K_x8 --scales 8

Then train with --cfg-options train_dataloader.dataset.data_root=data/DIV2K_x8
"""
import argparse
import sys

from srdensenet_mm.errors import run_tool


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('hr_folder', help='folder of high-resolution images')
    parser.add_argument('out_folder', help='folder to make the set in')
    parser.add_argument('--scales', type=int, nargs='+', default=[2, 3, 4], metavar='S',
                        help='scale factors (default: 2 3 4)')
    parser.add_argument('--overwrite', action='store_true', help='write all files again')
    parser.add_argument('--workers', type=int, metavar='N',
                        help='images prepared at once (default: the number of CPU cores)')
    return parser.parse_args()


def main():
    args = parse_args()
    from srdensenet_mm.datasets.prepare import failure_lines, prepare_dataset
    report = prepare_dataset(args.hr_folder, args.out_folder, args.scales, args.overwrite,
                             args.workers, progress=True)
    print(f'{args.out_folder}: {len(report.written)} images written, '
          f'{len(report.up_to_date)} were up to date, {len(report.failed)} failed')
    if report.left_over:
        print(f'{report.left_over[0]}: is of no image in {args.hr_folder}'
              f'{f", nor are {len(report.left_over) - 1} more" * (len(report.left_over) > 1)}; '
              'remove it with its LR images, or it will be scored too', file=sys.stderr)
    for line in failure_lines(report):
        print(f'failed: {line}', file=sys.stderr)
    return 1 if report.failed else 0


if __name__ == '__main__':
    run_tool(main)
