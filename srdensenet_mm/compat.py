# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Every upstream fault that this package works around, a function each.

Each function says which versions it concerns, so that it can go when they do.
"""
import importlib
from importlib import metadata
from typing import Dict, Tuple

# Package -> (lowest version that works, first version that does not).
REQUIRED: Dict[str, Tuple[str, str]] = {
    'mmengine': ('0.10.0', '1.0.0'),
    'mmcv': ('2.0.0', '2.2.0'),
    'mmagic': ('1.2.0', '2.0.0'),
}
_INSTALL_HELP = 'see "Install" in the README of srdensenet_mm'


def check_environment() -> None:
    """Fail early, in one line, where MMagic could only fail late and obscurely.

    Concerns mmcv 2.x and mmagic 1.x: an mmcv that was built without torch
    present has no compiled ops, and ``import mmagic.models`` then fails far
    from the cause (mmagic's issue 2110).

    Raises:
        ImportError: A package is missing, too old or too new, or mmcv lacks
            its ops. The message names the remedy.
    """
    from mmengine.utils import digit_version
    for package, (lowest, first_bad) in REQUIRED.items():
        wanted = f"'{package}>={lowest},<{first_bad}'"
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            raise ImportError(f'srdensenet_mm needs {wanted}, which is not installed: '
                              f'pip install {wanted} ({_INSTALL_HELP})') from None
        if not digit_version(lowest) <= digit_version(found) < digit_version(first_bad):
            raise ImportError(f'srdensenet_mm needs {wanted}, but {found} is installed: '
                              f'pip install {wanted} ({_INSTALL_HELP})')
    try:
        importlib.import_module('torch')  # mmcv._ext needs its libraries loaded
        importlib.import_module('mmcv._ext')
    except ImportError as error:
        raise ImportError(
            f'the installed mmcv {metadata.version("mmcv")} lacks its compiled ops ({error}). '
            'Rebuild it with torch present: pip install --no-cache-dir --force-reinstall --no-deps '
            f'--no-build-isolation mmcv=={metadata.version("mmcv")} ({_INSTALL_HELP})') from None


def register_on_demand() -> None:
    """Have MMagic's registries import this package's modules when first asked.

    Concerns mmengine 0.10: a registry imports its own ``locations`` at the
    first look-up, which is what keeps ``import mmagic`` light, but offers a
    plugin no way to add one. Importing ``LumaEditModel`` outright would pull
    in all of MMagic's models, and diffusers, for whoever only wants the
    network.
    """
    from mmagic import registry
    locations = {
        'MODELS': ['srdensenet_mm.models', 'srdensenet_mm.models.luma_edit_model'],
        'DATASETS': ['srdensenet_mm.datasets', 'srdensenet_mm.engine'],
        'DATA_SAMPLERS': ['srdensenet_mm.engine'],
        'TRANSFORMS': ['srdensenet_mm.datasets'],
        'HOOKS': ['srdensenet_mm.engine'],
        'LOOPS': ['srdensenet_mm.engine'],
        'OPTIM_WRAPPERS': ['srdensenet_mm.engine'],
    }
    for name, modules in locations.items():
        node = getattr(registry, name)
        # A new list: registries may share one.
        node._locations = [*node._locations, *modules]
        if node._imported:
            for module in modules:
                importlib.import_module(module)


def allow_runner_checkpoints() -> None:
    """Let ``torch.load`` read the Runner's own checkpoints, and nothing more.

    Concerns torch >= 2.6 with mmengine 0.10: ``torch.load`` refuses classes
    that it does not know, and a Runner's checkpoint holds mmengine's message
    hub (``HistoryBuffer`` over numpy arrays). Allow-listing exactly these
    classes keeps strangers' pickles from running code, which
    ``weights_only=False`` would not.
    """
    import numpy as np
    import torch
    from mmengine.logging.history_buffer import HistoryBuffer
    if not hasattr(torch.serialization, 'add_safe_globals'):
        return
    torch.serialization.add_safe_globals([
        HistoryBuffer,
        np.core.multiarray._reconstruct,
        np.core.multiarray.scalar,
        np.ndarray,
        np.dtype,
        *(type(np.dtype(kind)) for kind in ('f8', 'f4', 'i8', 'i4', 'u8', 'u4', 'b1')),
        (_history_buffer_method, 'builtins.getattr'),
    ])


def _history_buffer_method(owner: object, name: str) -> object:
    """What ``getattr`` is allowed to mean in a checkpoint.

    A history buffer keeps its statistics as functions, and pickle writes
    ``HistoryBuffer.min`` as a call of ``getattr``. Of anything else, nothing
    is handed out.
    """
    import pickle

    from mmengine.logging.history_buffer import HistoryBuffer
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) was not an allowed global')


def init_distributed(cfg) -> None:
    """Join the processes of a launcher on a machine without GPUs.

    Concerns mmengine 0.10: its launcher support sets a CUDA device on
    whatever machine, and its wrapper for data parallelism names one too. A
    Runner skips its own initialization where there is a process group
    already, so gloo's is made here, from the launcher's environment. With a
    GPU, or without a launcher, nothing is done.

    Args:
        cfg (Config): A whole config; ``launcher`` is read, and where needed
            ``model_wrapper_cfg`` is set, in place.

    Raises:
        UserError: The launcher's environment variables are missing.
    """
    import datetime
    import os

    import torch

    from .errors import UserError
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none' or torch.cuda.is_available():
        return
    names = {
        'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
        'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
        'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
    }[launcher]
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise UserError(f'--launcher {launcher}: {missing[0]} is not set in the environment; '
                        f'start through the launcher, e.g. tools/dist_train.sh CONFIG NUM_PROC')
    for name, source in zip(('RANK', 'WORLD_SIZE', 'LOCAL_RANK'), names, strict=True):
        os.environ[name] = os.environ[source]
    os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
    os.environ.setdefault('MASTER_PORT', '29500')
    if not torch.distributed.is_initialized():
        timeout = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', 1800)
        torch.distributed.init_process_group(
            'gloo', timeout=datetime.timedelta(seconds=timeout))
    wrapper = cfg.get('model_wrapper_cfg') or {}
    if wrapper.get('type', 'MMDistributedDataParallel') == 'MMDistributedDataParallel':
        defaults = dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False))
        cfg.model_wrapper_cfg = dict(defaults, **wrapper)
        cfg.model_wrapper_cfg.device_ids = None


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next step instead of returning it.

    Concerns glibc's malloc with torch on CPUs: buffers above 32 MiB are mapped
    anew at each allocation, and the kernel zeroing their pages takes up to a
    third of a training step of this network. Call it in a process that trains;
    the process then keeps its peak memory. Does nothing on other C libraries.
    """
    import ctypes
    m_trim_threshold, m_mmap_max = -1, -4  # from malloc.h
    try:
        mallopt = ctypes.CDLL('libc.so.6').mallopt
    except (OSError, AttributeError):
        return
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
