# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""A progress bar where a person looks on."""
import os
import sys
from collections.abc import Iterable

from tqdm import tqdm


def progress_bar(items: Iterable | None = None, **options) -> tqdm:
    """A bar of tqdm on stderr, which shows itself on a terminal alone.

    In a file or a job's log, and on a terminal that cannot rewrite a line
    (``TERM=dumb``), it writes nothing.

    Args:
        items (Iterable, optional): What to go through.
        **options: As ``tqdm`` takes them.
    """
    shown = (sys.stderr is not None and sys.stderr.isatty()
             and os.environ.get('TERM') != 'dumb')
    # The cursor waits at the line's start. At its end, the "^C" that a terminal
    # shows would go on to the next line, and the bar could not be cleared.
    return tqdm(items, **{'disable': not shown, 'dynamic_ncols': True,
                          'bar_format': '{l_bar}{bar}{r_bar}\r', **options})
