# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The normalization that a network was trained with, from its training's config."""
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from srdensenet_mm.config.type_name import type_name

# Models that turn RGB into luma themselves.
LUMA_MODELS = ('LumaEditModel', 'LumaLIIF')


@dataclass(frozen=True)
class Normalization:
    """How MMagic's ``DataPreprocessor`` changes images of 0..255.

    Attributes:
        channel_order (str): ``'rgb'`` or ``'bgr'``.
        mean (Sequence[float]): Subtracted. One number, or one for each channel.
        std (Sequence[float]): Divides the difference. Like ``mean``.

    Raises:
        ValueError: The values are impossible for images.
    """
    channel_order: str = 'rgb'
    mean: Sequence[float] = (0., )
    std: Sequence[float] = (255., )

    def __post_init__(self):
        numbers = [*self.mean, *self.std]
        if (self.channel_order not in ('rgb', 'bgr')
                or not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers)
                or not {len(self.mean), len(self.std)} <= {1, 3} or 0 in self.std):
            raise ValueError(f'channel order {self.channel_order!r}, mean {self.mean} and std '
                             f'{self.std} are none of images in RGB or BGR')

    @property
    def is_usual(self) -> bool:
        """Whether it is RGB divided by 255, the default."""
        return (self.channel_order == 'rgb' and set(self.mean) == {0} and set(self.std) == {255})


def normalization_of(cfg: Mapping[str, Any]) -> Normalization | None:
    """The normalization of a training's config.

    Args:
        cfg (Mapping): A config of MMagic, with ``model`` and pipelines.

    Returns:
        Normalization | None: The usual one for models on luma, which work with
        RGB, and where the config has no preprocessor. None where the
        config does not show the channel order.

    Raises:
        ValueError: The values are impossible for images.
    """
    model = cfg.get('model') or {}
    if type_name(model.get('type')) in LUMA_MODELS:
        return Normalization()
    preprocessor = model.get('data_preprocessor')
    if not preprocessor:
        return Normalization()
    # Without a conversion, the network reads the order that the pipeline loads.
    order = preprocessor.get('output_channel_order') or next(_loaded_orders(cfg), None)
    if order is None:
        return None
    return Normalization(order.lower(), *_mean_and_std(preprocessor))


def normalization_for_meta(cfg: Mapping[str, Any]) -> dict[str, Any] | None:
    """The entry ``normalization`` of a checkpoint's meta, from its training's config.

    Args:
        cfg (Mapping): The readable part of the config's text in a Runner's
            checkpoint.

    Returns:
        dict | None: None for the usual normalization, also with an unknown
        channel order. Else the fields of :class:`Normalization`, or
        ``unusable`` with the reason.
    """
    try:
        found = normalization_of(cfg)
        if found is None:
            found = Normalization('rgb', *_mean_and_std(cfg['model']['data_preprocessor']))
            if not found.is_usual:
                raise ValueError('RGB or BGR is not said')
    except (ValueError, TypeError, AttributeError) as error:
        # An error only where the network is used on images.
        return dict(unusable=str(error))
    return None if found.is_usual else asdict(found)


def normalization_in(meta: Mapping[str, Any]) -> Normalization:
    """The normalization in a checkpoint's meta.

    Raises:
        ValueError: It is not usable.
    """
    saved = meta.get('normalization', {})
    try:
        if 'unusable' in saved:
            raise ValueError(saved['unusable'])
        found = Normalization(**saved)
    except TypeError as error:
        raise ValueError(f'{saved} is none') from error
    # One channel has no order.
    return replace(found, channel_order='rgb') if meta.get('colour') == 'y' else found


def _mean_and_std(preprocessor: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
    if preprocessor.get('mean', 0) is None or preprocessor.get('std', 0) is None:
        return (0., ), (1., )
    return tuple(_numbers(preprocessor.get(name, 127.5)) for name in ('mean', 'std'))


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value, )


def _loaded_orders(cfg: Mapping[str, Any]) -> Iterator[str]:
    """The channel orders of the images that a config's pipelines load."""
    for part in ('test', 'val', 'train'):
        for pipeline in (cfg.get(f'{part}_pipeline'), *_pipelines(cfg.get(f'{part}_dataloader'))):
            for step in pipeline or ():
                if type_name(step.get('type')) == 'LoadImageFromFile' and step.get('key') == 'img':
                    yield step.get('channel_order', 'bgr')


def _pipelines(value: Any) -> Iterator[Sequence]:
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _pipelines(one)
    elif isinstance(value, Mapping):
        if isinstance(value.get('pipeline'), (list, tuple)):
            yield value['pipeline']
        for name in ('dataset', 'datasets'):
            yield from _pipelines(value.get(name))
