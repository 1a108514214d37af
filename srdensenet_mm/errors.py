# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The exception for a user's mistake, and how every tool reports it."""
import hashlib
import os
import select
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn


class UserError(ValueError):
    """A mistake in what the user gave: a file, a config field, an option.

    The message is one line that names the file, field or value and the way
    out. Tools print it alone, without a traceback, and exit with status 2.
    """


@contextmanager
def naming(name: object,
           fault: str = 'cannot be read',
           kinds: type[Exception] | tuple[type[Exception], ...] = OSError) -> Iterator[None]:
    """Turn the errors of a block into one line that begins with a name.

    Args:
        name (object): The file, folder or setting that the block is about.
        fault (str): What a library's exception means for it.
        kinds (type | tuple): The libraries' exceptions that have this meaning.
            Defaults to those of the operating system.

    Raises:
        UserError: ``NAME: MESSAGE`` for a UserError of the block, and ``NAME:
            FAULT (REASON)`` for an exception of these kinds.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f'{name}: {error}') from error
    except kinds as error:
        reason = reason_of(error)
        file = getattr(error, 'filename', None)
        if file is not None and not str(file).startswith(str(name)):
            reason = f'{reason}: {file}'
        raise UserError(f'{name}: {fault} ({reason})') from error


def text_of(error: Exception) -> str:
    """The message of a library's exception in one line, which may be empty."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = getattr(error, 'strerror', None) or str(text).split('. Please check')[0]  # MMEngine's
    return textwrap.shorten(text, 300)


def reason_of(error: Exception) -> str:
    """What a library's exception says, with its type where the message alone says too little."""
    text = text_of(error)
    if text and type(error) in (ValueError, RuntimeError) or isinstance(error, OSError) and text:
        return text
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


def run_tool(main: Callable[[], int | None]) -> NoReturn:
    """Run a command line's ``main`` and leave the process.

    Args:
        main: Takes no arguments; returns an exit status, None meaning 0.

    A :class:`UserError` becomes one line on stderr and status 2. So does a file
    that the operating system refuses, or a missing package. Ctrl-C gives
    status 130. Where the reader of the output has ended (``| head``), status is
    141, without a message. Names that the console cannot print appear with
    their codes. Every other exception is a fault of the program and keeps its
    traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):  # None where it is closed, as by some job schedulers
            stream.reconfigure(errors='backslashreplace')
    # Figures go into files; a backend inherited from a notebook is for windows and may be missing.
    os.environ['MPLBACKEND'] = 'Agg'
    try:
        status = main()
        if sys.stdout is not None:  # closed, as by some job schedulers
            sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_gone():
            raise
        status = 141
    except (UserError, OSError, ImportError) as error:
        message = _line_of(error)
        if message is None:
            raise
        if _is_first_to_print(message):
            print(f'error: {message}', file=sys.stderr)
        status = 2
    except (KeyboardInterrupt, RuntimeError) as error:
        # Python turns a Ctrl-C that meets it between two states of a lock into
        # "release unlocked lock".
        if KeyboardInterrupt not in (type(error), type(error.__context__)):
            raise
        print('interrupted', file=sys.stderr)
        status = 130
    sys.exit(status)


def _line_of(error: Exception) -> str | None:
    """One line on what the user can mend; None for a fault of the program."""
    if isinstance(error, UserError):
        return ' '.join(str(error).split())
    if isinstance(error, OSError):
        return None if error.filename is None else f'{error.filename}: {reason_of(error)}'
    package = (error.name or __package__).partition('.')[0]
    if package == __package__:
        return None
    return f'{package} cannot be imported ({error}): see "Install" in the README of srdensenet_mm'


def printable(text: str) -> str:
    """A text in which bytes of a file's name that are no UTF-8 appear by their codes."""
    return text.encode(errors='backslashreplace').decode()


def _reader_has_gone() -> bool:
    """Whether stdout has no reader any more; if so, later output is discarded."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # errors are always reported
        gone = bool(poll.poll(0))
    except (AttributeError, OSError):  # no poll here, or no file
        return False
    if gone:
        # Else Python would try again at its end, and print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def _is_first_to_print(message: str) -> bool:
    """Whether no other process of the same job has printed this message.

    ``tools/dist_train.sh`` gives its processes a folder to agree in.
    """
    folder = os.environ.get('SRDENSENET_MM_JOB_DIR')
    if not folder:
        return True
    name = hashlib.sha256(message.encode(errors='replace')).hexdigest()
    try:
        os.close(os.open(os.path.join(folder, name), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    except OSError:  # better twice than never
        return True
    return True
