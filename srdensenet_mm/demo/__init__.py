# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What ``make demo`` shows: a short training, a table, a figure."""
from .figure import draw_figure
from .pictures import copy_training_pictures
from .scores import print_table, score_pictures

__all__ = ['copy_training_pictures', 'draw_figure', 'print_table', 'score_pictures']
