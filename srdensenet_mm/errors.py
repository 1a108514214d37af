# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The exception for a user's mistake, and how every tool reports it."""
import sys
from typing import Callable, NoReturn, Optional


class UserError(ValueError):
    """A mistake in what the user gave: a file, a config field, an option.

    The message is one line that names the file, field or value and the way
    out. Tools print it alone, without a traceback, and exit with status 2.
    """


def run_tool(main: Callable[[], Optional[int]]) -> NoReturn:
    """Run a command line's ``main`` and leave the process.

    Args:
        main: Takes no arguments; returns an exit status, None meaning 0.

    A :class:`UserError` becomes one line on stderr and status 2, Ctrl-C
    status 130. Every other exception is a fault of the program and keeps its
    traceback.
    """
    try:
        status = main()
    except UserError as error:
        message = ' '.join(str(error).split())
        print(f'error: {message}', file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        status = 130
    sys.exit(status)
