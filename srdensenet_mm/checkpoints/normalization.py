# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What numbers a network was trained on, out of its training's config."""
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from srdensenet_mm.config.type_name import type_name


@dataclass(frozen=True)
class Normalization:
    """What MMagic's ``DataPreprocessor`` makes of images of 0..255.

    Attributes:
        channel_order (str): ``'rgb'`` or ``'bgr'``.
        mean (Sequence[float]): Subtracted; one number, or one a channel.
        std (Sequence[float]): What is then divided by.
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
        """Whether it is RGB divided by 255, as of all that says nothing else."""
        return (self.channel_order == 'rgb' and set(self.mean) == {0} and set(self.std) == {255})


def normalization_of(cfg: Mapping[str, Any]) -> Normalization | None:
    """What a training's config says.

    Args:
        cfg (Mapping): MMagic's, with ``model`` and pipelines.

    Returns:
        Normalization | None: The usual one of ``LumaEditModel``, whose world is
        RGB, and where no preprocessor is named. None where the channel order is
        nowhere said.

    Raises:
        ValueError: Numbers or an order that no network for images has.
    """
    model = cfg.get('model') or {}
    if type_name(model.get('type')) == 'LumaEditModel':
        return Normalization()
    preprocessor = model.get('data_preprocessor')
    if not preprocessor:
        return Normalization()
    # Where nothing converts, a network has what the pipeline loads.
    order = preprocessor.get('output_channel_order') or next(_loaded_orders(cfg), None)
    if order is None:
        return None
    return Normalization(order.lower(), *_mean_and_std(preprocessor))


def normalization_for_meta(cfg: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a checkpoint's meta is to keep of its training's config.

    Args:
        cfg (Mapping): What could be read of the text that a Runner keeps of it.

    Returns:
        dict | None: None of the usual numbers, in whatever order where that is
        not said. Else the fields of :class:`Normalization`, or ``unusable``
        with the reason.
    """
    try:
        found = normalization_of(cfg)
        if found is None:
            found = Normalization('rgb', *_mean_and_std(cfg['model']['data_preprocessor']))
            if not found.is_usual:
                raise ValueError('RGB or BGR is not said')
    except (ValueError, TypeError, AttributeError) as error:
        # Whoever gives the network no images need not care.
        return dict(unusable=str(error))
    return None if found.is_usual else asdict(found)


def normalization_in(meta: Mapping[str, Any]) -> Normalization:
    """What a checkpoint's meta says.

    Raises:
        ValueError: It is not usable.
    """
    said = meta.get('normalization', {})
    try:
        if 'unusable' in said:
            raise ValueError(said['unusable'])
        found = Normalization(**said)
    except TypeError as error:
        raise ValueError(f'{said} is none') from error
    # Of one channel, there is no order.
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
