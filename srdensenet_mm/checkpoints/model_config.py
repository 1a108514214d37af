# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Making the config of an MMagic model from a checkpoint alone."""
from pathlib import Path
from typing import Any

from ..errors import UserError
from .normalization import normalization_in
from .reading import load_network_with_meta


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
        UserError: The file cannot be read, or its normalization is unknown.
    """
    _, meta = load_network_with_meta(path)
    generator = dict(meta['network'])
    if generator['type'] == 'SpandrelNetwork':
        generator = dict(type='SpandrelNetwork', path=str(path))
    try:
        fed = normalization_in(meta)
        if meta['colour'] == 'y' and not fed.is_usual:
            raise ValueError(f'one channel, mean {fed.mean} and std {fed.std}')
    except ValueError as error:
        raise UserError(f'{path}: what numbers its network reads cannot be told ({error}); give '
                        'the config of its training') from error
    preprocessor = dict(type='DataPreprocessor', mean=list(fed.mean), std=list(fed.std))
    if meta['colour'] != 'y':
        preprocessor['output_channel_order'] = fed.channel_order.upper()
    return dict(
        type='LumaEditModel' if meta['colour'] == 'y' else 'BaseEditModel',
        generator=generator, pixel_loss=dict(type='L1Loss'), train_cfg=dict(), test_cfg=dict(),
        data_preprocessor=preprocessor)
