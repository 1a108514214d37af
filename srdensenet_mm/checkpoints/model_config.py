# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Making the config of an MMagic model from a checkpoint alone."""
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError, naming
from .normalization import Normalization, normalization_in
from .reading import load_network_with_meta


def known_normalization(meta: Mapping[str, Any], path: str | Path) -> Normalization:
    """The normalization in a checkpoint's meta.

    Args:
        meta (Mapping): The meta.
        path (str | Path): The file, for the message.

    Raises:
        UserError: It is unknown, or luma has an unusual one.
    """
    with naming(path, 'how the images of its network are normalized is not known; give the config '
                'of its training', ValueError):
        found = normalization_in(meta)
        if meta['colour'] == 'y' and not found.is_usual:
            raise ValueError(f'one channel, mean {found.mean} and std {found.std}')
    return found


def model_config(path: str | Path) -> dict[str, Any]:
    """The config of a model whose network is the one in a file.

    Args:
        path (str | Path): A checkpoint that holds its architecture: this
            project's, or another project's that spandrel reads.

    Returns:
        dict: A ``LumaEditModel`` for luma, a ``BaseEditModel`` for RGB. A
        :class:`SpandrelNetwork` in it reads the file. For other networks, load
        the weights afterwards.

    Raises:
        UserError: The file cannot be read, its network has no scale of its own,
            or its normalization is unknown.
    """
    _, meta = load_network_with_meta(path)
    generator = dict(meta['network'])
    if generator['type'] == 'SpandrelNetwork':
        generator = dict(type='SpandrelNetwork', path=str(path))
    if 'imnet' in generator:
        raise UserError(f'{path}: its network upscales by any factor: give its config, for example '
                        'configs/srdensenet_liif.py, whose model.test_cfg.scale is then used')
    fed = known_normalization(meta, path)
    preprocessor = dict(type='DataPreprocessor', mean=list(fed.mean), std=list(fed.std))
    if meta['colour'] != 'y':
        preprocessor['output_channel_order'] = fed.channel_order.upper()
    return dict(
        type='LumaEditModel' if meta['colour'] == 'y' else 'BaseEditModel',
        generator=generator, pixel_loss=dict(type='L1Loss'), train_cfg=dict(), test_cfg=dict(),
        data_preprocessor=preprocessor)
