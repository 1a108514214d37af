# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What ``make demo`` shows: a short training, a table, a figure."""
from .figure import draw_figure
from .images import copy_training_images
from .scores import print_table, score_images

__all__ = ['copy_training_images', 'draw_figure', 'print_table', 'score_images']
