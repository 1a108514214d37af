# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Parts of ``make demo``: training images, a table of scores, a figure."""
from .figure import draw_figure
from .images import copy_training_images
from .scores import print_table, score_images

__all__ = ['copy_training_images', 'draw_figure', 'print_table', 'score_images']
