# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Workarounds for faults of other packages, one function for each.

Each function says which versions it concerns. Without these, it can go.
"""
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import metadata

from .config.type_name import type_name
from .errors import UserError, naming, printable

# Package -> (lowest version that works, first version that does not).
REQUIRED = {
    'torch': ('2.6.0', '3.0.0'),  # before, add_safe_globals takes no renamed functions
    'mmengine': ('0.10.0', '1.0.0'),
    'mmcv': ('2.0.0', '2.2.0'),
    'mmagic': ('1.2.0', '2.0.0'),
}
_INSTALL_HELP = 'see "Install" in the README of srdensenet_mm'


class BrokenEnvironment(UserError):
    """A package that srdensenet_mm needs is missing or has an unsuitable version.

    Not an ImportError, although imports raise it: mmengine 0.10 replaces an
    ImportError from ``custom_imports`` by one that does not say why.
    """


def silence_transformers() -> None:
    """Silence a warning about transformers' own code.

    Concerns transformers 4.36, which mmengine's optimizers import, with torch
    2.2 and newer: it calls a function by its deprecated name.
    """
    import warnings
    warnings.filterwarnings(
        'ignore', message='.*_register_pytree_node.* is deprecated', category=FutureWarning)


def has_mmagic() -> bool:
    """Whether MMagic and MMEngine are installed: without them, the bare network works."""
    try:
        return all(importlib.util.find_spec(name) for name in ('mmagic', 'mmengine'))
    except ImportError:
        return False


def check_environment() -> None:
    """Check the installed packages, with one clear line where MMagic would fail late.

    Raises:
        BrokenEnvironment: A package is missing, too old or too new. The message
            names the remedy.
    """
    from packaging.version import Version
    for package, (lowest, first_bad) in REQUIRED.items():
        found = _installed_version(package)
        if found is None and package == 'mmcv':
            found = _installed_version('mmcv-lite')
        if found is None:
            raise BrokenEnvironment(
                f'srdensenet_mm needs {package}, not installed here: {_remedy(package)}')
        if not Version(lowest) <= Version(found) < Version(first_bad):
            raise BrokenEnvironment(
                f'srdensenet_mm needs {package} from {lowest} on and below {first_bad}, '
                f'but {found} is installed: {_remedy(package)}')


def work_around_imports() -> None:
    """Apply the workarounds that belong to a package when it is imported, by whomever.

    To import these packages here would take seconds, for ``--help`` too.
    """
    around = {
        'cv2': _named_where_broken('cv2'),
        'mmcv': _named_where_broken('mmcv'),
        # allow_runner_checkpoints needs both. MMEngine imports torch.
        'torch': _followed_by(lambda: importlib.import_module('mmengine')),
        'mmengine': _followed_by(allow_runner_checkpoints),
        'mmagic.registry': _followed_by(register_on_demand),
        'srdensenet_mm.models.liif_srdensenet': _followed_by(register_mlp_refiner),
    }
    sys.meta_path.insert(0, _AroundImports(around))
    sys.meta_path.insert(0, _StandInFinder())
    for name, step in around.items():
        if name in sys.modules:
            with step():
                pass


class _AroundImports(importlib.abc.MetaPathFinder):
    """Runs modules inside context managers when they are imported."""

    def __init__(self, around: dict[str, Callable[[], AbstractContextManager]]):
        self.around = around

    def find_spec(self, name: str, path=None, target=None):
        if name not in self.around:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                self._wrap(spec.loader, name)
                return spec
        return None

    def _wrap(self, loader: importlib.abc.Loader, wrapped: str) -> None:
        exec_module = loader.exec_module

        def exec_inside(module) -> None:
            if module.__name__ != wrapped:  # some loaders load several
                return exec_module(module)
            with self.around[wrapped]():
                return exec_module(module)

        loader.exec_module = exec_inside


def _followed_by(function: Callable[[], None]) -> Callable[[], AbstractContextManager]:
    @contextmanager
    def follow() -> Iterator[None]:
        yield
        function()

    return follow


def _named_where_broken(package: str) -> Callable[[], AbstractContextManager]:
    @contextmanager
    def name_it() -> Iterator[None]:
        try:
            yield
        except ImportError as error:
            raise BrokenEnvironment(f'{package} cannot be imported: {error}{_libgl_help(error)} '
                                    f'({_INSTALL_HELP})') from error

    return name_it


def leave_out_optimizers() -> None:
    """Keep MMEngine from importing two optimizers, in a process that never trains.

    Concerns mmengine 0.10: ``mmengine.model`` imports all optimizers that it
    registers. Adafactor is in transformers, and ZeroRedundancyOptimizer in
    torch's package of distributed optimizers, which compiles them. Both take as
    long as upscaling a small image. MMEngine does without what cannot be
    imported. Other imports of these packages are not changed.
    """
    for finder in sys.meta_path:
        if isinstance(finder, _AroundImports):
            finder.around['mmengine.optim'] = _without('transformers', 'torch.distributed.optim')


def _without(*names: str) -> Callable[[], AbstractContextManager]:
    @contextmanager
    def hide() -> Iterator[None]:
        hidden = [name for name in names if name not in sys.modules]
        sys.modules.update(dict.fromkeys(hidden))
        try:
            yield
        finally:
            for name in hidden:
                del sys.modules[name]

    return hide


class _StandInFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Lets MMagic's models be imported where mmcv's compiled ops are missing.

    Concerns mmagic 1.2 with mmcv-lite 2.x, which has no ops, and with an mmcv
    2.x that was built without torch or for another one (mmagic's issue 2110).
    ``import mmagic.models`` then fails because of four of its models. With
    this, ``mmcv.ops`` holds placeholders. Building one raises
    :class:`BrokenEnvironment` with the way out. Where the ops can be imported,
    nothing changes.
    """

    @functools.cached_property
    def reason(self) -> str:
        """Why mmcv's ops cannot be imported; empty where they can."""
        import torch  # noqa: F401  mmcv._ext needs its libraries loaded
        try:
            importlib.import_module('mmcv._ext')
        except ImportError as error:
            return str(error)
        return ''

    def find_spec(self, name: str, path=None, target=None):
        if name != 'mmcv.ops' and not name.startswith('mmcv.ops.') or not self.reason:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def exec_module(self, module) -> None:
        def make_placeholder(name: str) -> type:
            if name.startswith('__'):
                raise AttributeError(f'module {module.__name__!r} has no attribute {name!r}')
            return _placeholder(name, self.reason)

        module.__getattr__ = make_placeholder


def _placeholder(name: str, reason: str) -> type:
    """A class that stands in for one op, a module or a function."""
    from torch import nn

    def refuse(self, *args, **kwargs):
        raise BrokenEnvironment(
            f'mmcv.ops.{name} is not in this environment ({reason}); build mmcv with its ops: '
            'pip uninstall mmcv-lite; pip install --no-cache-dir --force-reinstall --no-deps '
            f"--no-build-isolation 'mmcv>={REQUIRED['mmcv'][0]},<{REQUIRED['mmcv'][1]}' "
            '(in a checkout: make env MMCV_OPS=1)')

    return type(name, (nn.Module, ), dict(__init__=refuse))


def _installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _remedy(package: str) -> str:
    """The command that installs a fitting version of a required package."""
    lowest, first_bad = REQUIRED[package]
    # Some other models of MMagic need the ops of the full mmcv. SRDenseNet needs none.
    wheel = {'mmcv': 'mmcv-lite'}.get(package, package)
    return f"pip install '{wheel}>={lowest},<{first_bad}' ({_INSTALL_HELP})"


def _libgl_help(error: ImportError) -> str:
    """The way out where the system library of OpenCV's windows is missing."""
    if 'libGL' not in str(error):
        return ''
    return ('; install OpenCV without windows: pip install --force-reinstall --no-deps '
            f'opencv-python-headless=={_installed_version("opencv-python") or "4.11.0.86"}')


def register_on_demand() -> None:
    """Have MMagic's registries import this package's modules at the first look-up.

    Concerns mmengine 0.10: a registry imports its own ``locations`` at the
    first look-up, so ``import mmagic`` is fast. But a plugin cannot add a
    location. Importing ``LumaEditModel`` directly would import all of MMagic's
    models, and diffusers, even for the network alone.
    """
    from mmagic import registry
    locations = {
        'MODELS': ['srdensenet_mm.models', 'srdensenet_mm.models.luma_edit_model',
                   'srdensenet_mm.models.luma_liif', 'srdensenet_mm.checkpoints.spandrel_network'],
        'DATASETS': ['srdensenet_mm.datasets', 'srdensenet_mm.engine'],
        'DATA_SAMPLERS': ['srdensenet_mm.engine'],
        'TRANSFORMS': ['srdensenet_mm.datasets'],
        'HOOKS': ['srdensenet_mm.engine'],
        'LOOPS': ['srdensenet_mm.engine'],
        'OPTIMIZERS': ['srdensenet_mm.engine'],
        'OPTIM_WRAPPERS': ['srdensenet_mm.engine'],
    }
    for name, modules in locations.items():
        node = getattr(registry, name)
        # A new list: registries may share one.
        node._locations = [*node._locations, *modules]
        if node._imported:
            for module in modules:
                importlib.import_module(module)


def register_mlp_refiner() -> None:
    """Import MMagic's ``MLPRefiner``, which LIIF's networks hold, and nothing else of its models.

    Concerns mmagic 1.2: to import one file of ``mmagic.models`` is to import
    all of them, with diffusers, SciPy and torchvision, which takes seconds.
    This file needs torch and MMEngine alone. A later import of all models finds
    it in ``sys.modules``.
    """
    name = 'mmagic.models.editors.liif.mlp_refiner'
    if name in sys.modules:
        return
    folder = importlib.util.find_spec('mmagic').submodule_search_locations[0]
    file = os.path.join(folder, *name.split('.')[1:]) + '.py'
    spec = importlib.util.spec_from_file_location(name, file)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def allow_runner_checkpoints() -> None:
    """Let ``torch.load`` read the data that trainings keep beside the weights.

    Concerns torch >= 2.6 with mmengine 0.10: ``torch.load`` refuses classes
    that it does not know, and a Runner's checkpoint holds mmengine's message
    hub (``HistoryBuffer`` over numpy arrays). Other trainers keep NumPy
    numbers, times, paths and settings. Exactly these classes are allowed, so
    pickles from strangers cannot run code. With ``weights_only=False`` they
    could.

    NumPy 1 and 2 write different module names, and so does Python 3.13 for
    paths. All of them can be read.
    """
    import argparse
    import collections
    import datetime
    import pathlib
    import types

    import numpy as np
    import torch
    from mmengine.logging.history_buffer import HistoryBuffer
    kinds = [np.dtype(kind) for kind in (*'?bBhHiIlLqQefdgFDGO', 'S1', 'U1', 'M8[s]', 'm8[s]')]
    rebuild = {function.__name__: function for function in (
        np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0])}  # wherever NumPy keeps them
    paths = {'PurePosixPath': pathlib.PurePosixPath, 'PosixPath': pathlib.PurePosixPath,
             'PureWindowsPath': pathlib.PureWindowsPath, 'WindowsPath': pathlib.PureWindowsPath}
    torch.serialization.add_safe_globals([
        HistoryBuffer,
        *((function, f'numpy.{core}.multiarray.{name}')
          for core in ('core', '_core') for name, function in rebuild.items()),
        (np.ndarray, 'numpy.ndarray'),
        (np.dtype, 'numpy.dtype'),
        *{type(kind) for kind in kinds},
        *((kind.type, f'numpy.{kind.type.__name__}') for kind in kinds),
        # The names that NumPy 1 and 2 give to the same types.
        (np.bool_, 'numpy.bool'), (np.bool_, 'numpy.bool_'),
        *((path, f'pathlib.{part}{name}') for name, path in paths.items()
          for part in ('', '_local.')),
        argparse.Namespace, types.SimpleNamespace, collections.defaultdict,
        (_list, 'collections.deque'),
        datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone,
        *((kind, f'builtins.{kind.__name__}')
          for kind in (dict, list, tuple, frozenset, int, float, bool, str, bytes)),
        (_history_buffer_method, 'builtins.getattr'),
    ])


def _list(items=(), maxlen: int | None = None) -> list:
    """Stands in for a deque: torch's reader only fills lists."""
    return list(items)


@contextmanager
def local_checkpoints_read_by(read) -> Iterator[None]:
    """Have MMEngine read checkpoint files with another function, and log which.

    Concerns mmengine 0.10: it reads them with ``torch.load``, which cannot read
    safetensors and refuses the records that other trainers keep beside the
    weights. It prints their names instead of logging them.

    Args:
        read (Callable): Takes a path, returns the file's content.
    """
    from mmengine.logging import print_log
    from mmengine.runner import checkpoint
    schemes = checkpoint.CheckpointLoader._schemes
    before = schemes['']

    def load_from_local(filename, map_location=None):  # MMEngine logs the name
        return read(filename)

    def log(message, logger=None, level=logging.INFO):
        print_log(message, logger or 'current', level)

    schemes[''], checkpoint.print_log = load_from_local, log
    try:
        yield
    finally:
        schemes[''], checkpoint.print_log = before, print_log


def _history_buffer_method(owner: object, name: str) -> object:
    """Stands in for ``getattr`` in a checkpoint.

    A history buffer keeps its statistics as functions, and pickle writes
    ``HistoryBuffer.min`` as a call of ``getattr``. Everything else is refused.
    """
    import pickle

    from mmengine.logging.history_buffer import HistoryBuffer
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) was not an allowed global')


def says_nothing(message: str) -> bool:
    """Whether a warning of MMEngine tells a user nothing that can be acted on.

    Concerns mmengine 0.10 with mmagic 1.2: MMagic's own data sets, metrics and
    file readers cause these warnings at every start, whatever the config.

    Args:
        message (str): The logged text.
    """
    return re.search('is not a meta file, simply parsed|The prefix is not set in metric class|'
                     '"FileClient" will be deprecated|"HardDiskBackend" is the alias|'
                     'resumed key: .* is not defined in message_hub|'
                     "Cannot find key 'gt_img' in data sample",
                     message) is not None


def bare_message(error: UserError) -> str:
    """An error's original message in a data loader's worker.

    Concerns torch's DataLoader: it puts a worker's whole traceback into the
    message of the error that it raises again.

    Args:
        error (UserError): The caught error.

    Returns:
        str: Its message, one line.
    """
    text = str(error)
    name = f'{type(error).__module__}.{type(error).__qualname__}: '
    if text.startswith('Caught '):
        text = text.rpartition(name)[2]
    return ' '.join(text.split())


def return_what_cannot_be_sent() -> None:
    """Report where a data loader's worker cannot send a batch to its process.

    Concerns torch's DataLoader up to at least 2.9. A thread of the worker sends
    batches, and only prints errors (shared memory is full, too many files are
    open, a sample cannot be pickled). The other process then waits for ever.
    With this, the error is sent instead of the batch, and raised there. Call it
    before workers are forked.
    """
    from multiprocessing import queues

    from torch._utils import ExceptionWrapper
    from torch.utils.data import get_worker_info
    say = queues.Queue._on_queue_feeder_error
    if getattr(say, 'returns', False):
        return

    def send_back(queue, error: Exception, item) -> None:
        worker = get_worker_info()
        if worker is None or isinstance(item[1], ExceptionWrapper):
            say(error, item)
        else:
            # Closed where another worker's error has ended the loading already.
            with suppress(ValueError):
                queue.put((item[0], ExceptionWrapper(
                    (type(error), error, error.__traceback__),
                    where=f'in DataLoader worker process {worker.id}')))

    send_back.returns = True
    queues.Queue._on_queue_feeder_error = send_back


@contextmanager
def no_news_of_workers() -> Iterator[None]:
    """Keep torch from raising an error at any moment after a data-loading worker has ended.

    Concerns torch's DataLoader up to at least 2.9: its handler of SIGCHLD
    raises even in the middle of an optimizer's step. Within this context, the
    data loader notices the loss within 5 s, when it is asked for a batch.
    """
    import signal
    import threading
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        # A stop that came meanwhile (SaveOnSignalHook) has set one that raises nothing.
        if signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL:
            signal.signal(signal.SIGCHLD, handler)


def init_distributed(cfg) -> None:
    """Join the processes of a launcher on a machine without GPUs.

    Concerns mmengine 0.10: its launcher support sets a CUDA device even without
    a GPU, and so do its wrappers for data parallelism. A Runner skips its own
    initialization where a process group exists already. So gloo's is made here,
    from the launcher's environment. With a GPU, that environment is only
    checked. Without a launcher, nothing is done.

    One thread for each process is set here too where nothing is said of it. The
    Runner would set it itself, with two warnings from each process.

    Args:
        cfg (Config): A whole config; ``launcher`` is read, and where needed
            ``model_wrapper_cfg`` is set, in place.

    Raises:
        UserError: The launcher's environment variables are missing, or the
            processes do not find each other.
    """
    import datetime

    import torch

    launcher = cfg.get('launcher', 'none')
    if launcher == 'none':
        return
    for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS'):
        os.environ.setdefault(name, '1')
    names = {
        'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
        'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
        'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
    }[launcher]
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise UserError(f'--launcher {launcher}: {missing[0]} is not set in the environment; '
                        f'start through the launcher, e.g. tools/dist_train.sh CONFIG NUM_PROC')
    if torch.cuda.is_available():
        return
    for name, source in zip(('RANK', 'WORLD_SIZE', 'LOCAL_RANK'), names, strict=True):
        os.environ[name] = os.environ[source]
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _first_slurm_node()
    os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
    os.environ.setdefault('MASTER_PORT', '29500')
    if not torch.distributed.is_initialized():
        timeout = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', 1800)
        with naming(
                f'--launcher {launcher}: process {os.environ["RANK"]} of '
                f'{os.environ["WORLD_SIZE"]}', 'cannot join the others at '
                f'{os.environ["MASTER_ADDR"]}:{os.environ["MASTER_PORT"]}, another PORT, or '
                'MASTER_ADDR?', (RuntimeError, ValueError)), _native_output_left_out():
            torch.distributed.init_process_group(
                'gloo', timeout=datetime.timedelta(seconds=timeout))
    wrapper = cfg.get('model_wrapper_cfg') or {}
    kind = type_name(wrapper.get('type', 'MMDistributedDataParallel'))
    if kind == 'MMDistributedDataParallel':
        wrapper = dict(dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False)), **wrapper)
    if kind in ('MMDistributedDataParallel', 'MMSeparateDistributedDataParallel'):
        cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)


@contextmanager
def _native_output_left_out() -> Iterator[None]:
    """Leave out what C++ code writes to stdout: gloo counts the processes, in each of them."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _first_slurm_node() -> str:
    """The address of the node of a Slurm job's first process."""
    import subprocess
    nodes = os.environ.get('SLURM_STEP_NODELIST') or os.environ.get('SLURM_NODELIST')
    if not nodes or os.environ.get('SLURM_NNODES', '1') == '1':
        return '127.0.0.1'
    try:
        names = subprocess.run(['scontrol', 'show', 'hostnames', nodes], check=True,
                               capture_output=True, text=True).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f'--launcher slurm: scontrol does not name the nodes of {nodes} ({error}); '
                        'set MASTER_ADDR to the address of the first') from error
    return names[0]


def write_any_name() -> None:
    """Let a Runner write file names with any bytes into its log and configs.

    Concerns mmengine 0.10 and TensorBoard. A name that is not UTF-8 (Latin-1
    from an old disk) has surrogates in Python, which text files cannot hold. In
    a log, their codes appear. In a config, a string with the codes means the
    same name when it is read.
    """
    import logging

    from mmengine.config import Config
    from mmengine.logging import MMLogger
    init, pretty_text = MMLogger.__init__, Config.pretty_text.fget

    @functools.wraps(init)
    def init_for_any_name(self, *args, **kwargs) -> None:
        init(self, *args, **kwargs)
        for handler in self.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.stream.reconfigure(encoding='utf-8', errors='backslashreplace')
                handler.handleError = functools.partial(_leave_out_line, handler)

    @functools.wraps(pretty_text)
    def printable_text(config) -> str:
        return printable(pretty_text(config))

    if not hasattr(init, '__wrapped__'):
        MMLogger.__init__ = init_for_any_name
    if not hasattr(pretty_text, '__wrapped__'):
        Config.pretty_text = property(printable_text)
    try:
        from tensorboard.compat.tensorflow_stub import compat
    except ImportError:
        return
    compat.as_bytes = lambda name, encoding='utf-8': (
        name.encode(encoding, 'surrogateescape') if isinstance(name, str) else bytes(name))
    compat.as_str = compat.as_text = lambda name, encoding='utf-8': (
        name if isinstance(name, str) else name.decode(encoding, 'surrogateescape'))


def quiet_event_thread() -> None:
    """Keep TensorBoard's thread from printing an error that it hands on.

    Concerns TensorBoard up to at least 2.19: the thread that writes events keeps
    its error, which the next event raises, and prints a traceback as well.
    """
    try:
        from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread
    except ImportError:
        return
    run = _AsyncWriterThread.run

    @functools.wraps(run)
    def run_quietly(self) -> None:
        with suppress(OSError):
            run(self)

    if not hasattr(run, '__wrapped__'):
        _AsyncWriterThread.run = run_quietly


def _leave_out_line(handler, record) -> None:
    error = sys.exc_info()[1]
    if isinstance(error, OSError):
        _say_once(f'{handler.baseFilename}: the log cannot be written '
                  f'({error.strerror or error}), lines are left out')
    else:
        logging.Handler.handleError(handler, record)


def leave_out_records(runner) -> None:
    """Let a training go on where its log and its records cannot be written.

    Concerns mmengine 0.10: on a full disk, a record of the losses ends the run,
    although a checkpoint need not be due before there is space again. (Python's
    logging prints a traceback for each line. :func:`write_any_name` mends that.)

    Args:
        runner (mmengine.runner.Runner): Call this once.
    """
    def or_leave_out(record: Callable) -> Callable:
        @functools.wraps(record)
        def try_to_record(*args, **kwargs) -> None:
            try:
                record(*args, **kwargs)
            except OSError as error:
                _say_once(f'{runner.log_dir}: losses and scores cannot be recorded '
                          f'({error.strerror or error}), training goes on without')
        return try_to_record

    for backend in runner.visualizer._vis_backends.values():
        for name in ('add_scalar', 'add_scalars', 'close'):
            setattr(backend, name, or_leave_out(getattr(backend, name)))


@functools.lru_cache
def _say_once(warning: str) -> None:
    print(f'warning: {warning}', file=sys.stderr)


def leave_out_training(runner) -> None:
    """Keep a Runner that only tests from building the training.

    Concerns mmengine 0.10: MMagic's visualization hook asks the Runner for the
    current iteration at every image. The Runner then builds the training loop,
    and with it the training set, which may be missing. The config does not
    change, because the Runner has written it into the work folder.

    Args:
        runner (mmengine.runner.Runner): Must not train before or after.
    """
    runner._train_loop = None


def hide_part_wrappers(model) -> None:
    """Keep the wrappers of a model's parts out of the names of its weights.

    Concerns mmengine 0.10: ``MMSeparateDistributedDataParallel`` wraps each
    part, so ``state_dict()`` has ``generator.module.weight``. The Runner's
    loader looks for ``generator.weight``, and finds nothing in the Runner's own
    checkpoints. With this, both use the latter, as with one process.

    Args:
        model (nn.Module): The Runner's model. Call this once.
    """
    from mmengine.model import is_model_wrapper
    for part in model.modules():
        if part is not model and is_model_wrapper(part):
            part.register_state_dict_post_hook(_leave_wrapper)
            part.register_load_state_dict_pre_hook(_enter_wrapper)


def _leave_wrapper(wrapper, state_dict: dict, prefix: str, *_) -> None:
    _rename(state_dict, f'{prefix}module.', prefix)


def _enter_wrapper(wrapper, state_dict: dict, prefix: str, *_) -> None:
    _rename(state_dict, prefix, f'{prefix}module.')


def _rename(state_dict: dict, old: str, new: str) -> None:
    for key in [key for key in state_dict if key.startswith(old)]:
        state_dict[new + key[len(old):]] = state_dict.pop(key)


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next step instead of returning it.

    Concerns glibc's malloc with torch on CPUs: buffers above 32 MiB are mapped
    again at each allocation. The kernel clears their pages, which takes up to a
    third of a training step of this network. Call it in a process that trains.
    The process then keeps its peak memory. Does nothing on other C libraries.
    """
    import ctypes
    m_trim_threshold, m_mmap_max = -1, -4  # from malloc.h
    try:
        mallopt = ctypes.CDLL('libc.so.6').mallopt
    except (OSError, AttributeError):
        return
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)


def return_freed_memory() -> None:
    """Have glibc map every larger buffer by itself, and return it when it is freed.

    Concerns glibc's malloc: it takes buffers up to the size of the largest one
    freed so far (32 MiB at most) from a heap. Buffers of different lifetimes
    leave gaps there. Upscaling 480x270 then takes four times the peak of its
    tensors. Call it in a process that upscales within a limit. Does nothing on
    other C libraries.
    """
    import ctypes
    m_mmap_threshold = -3  # from malloc.h; once it is set, glibc does not change it
    try:
        ctypes.CDLL('libc.so.6').mallopt(m_mmap_threshold, 4 * 2**20)
    except (OSError, AttributeError):
        return


def keep_float32(graph) -> None:
    """Remove needless rounding between float32 nodes of a graph converted to float16.

    Concerns onnxruntime (seen with 1.23 and 1.32). ``convert_float_to_float16``
    rounds the inputs and outputs of each node in its ``node_block_list`` to half
    precision, even between two of these nodes. Colours in 0..255 then have
    steps of 1/8 of a level. The nodes' order does not change.

    Args:
        graph (onnx.GraphProto): From the conversion. Changed in place.
    """
    import onnx
    # The conversion's own casts, by the names in older and newer versions.
    names = re.compile('.*_cast_to_fp16_node|.*_output_cast[0-9]+|graph_input_cast.*')
    there = {node.output[0]: node.input[0] for node in graph.node if names.fullmatch(node.name)}
    back = {node.output[0]: node.input[0] for node in graph.node
            if node.op_type == 'Cast' and node.attribute[0].i == onnx.TensorProto.FLOAT}

    def origin(name: str) -> str:
        while back.get(name) in there:
            name = there[back[name]]
        return name

    for node in graph.node:
        if node.op_type == 'Cast' and origin(node.output[0]) != node.output[0]:
            # The graph's output keeps its name.
            node.CopyFrom(onnx.helper.make_node(
                'Identity', [origin(node.output[0])], node.output, node.name))
            continue
        node.input[:] = map(origin, node.input)

    def unread() -> list:
        read = {value.name for value in graph.output}.union(*(node.input for node in graph.node))
        return [node for node in graph.node if read.isdisjoint(node.output)]

    while nodes := unread():
        for node in nodes:
            graph.node.remove(node)


@contextmanager
def same_signal_stack() -> Iterator[None]:
    """Restore the thread's signal stack at the end of a block or function.

    Concerns OpenVINO (seen with 2026.4): its core gives the thread that loads
    the CPU plugin an alternate signal stack. When the core is deleted, it
    restores the stack that it found. Two cores that are not deleted in reverse
    order leave a freed stack. The next signal with a handler then ends the
    process with SIGSEGV, such as SIGCHLD with torch's data loaders. A core that
    is made within this block finds the thread's own stack.
    """
    import ctypes

    class Stack(ctypes.Structure):
        _fields_ = [('sp', ctypes.c_void_p), ('flags', ctypes.c_int), ('size', ctypes.c_size_t)]

    sigaltstack = getattr(ctypes.CDLL(None), 'sigaltstack', None)
    before = Stack()
    if sigaltstack is None or sigaltstack(None, ctypes.byref(before)):
        yield
        return
    try:
        yield
    finally:
        sigaltstack(ctypes.byref(before), None)
