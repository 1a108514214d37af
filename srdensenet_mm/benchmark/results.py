# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""The results of a benchmark, before they are written to files."""
from dataclasses import dataclass, field
from statistics import median

import numpy as np

# What the original image is called, beside the entries' names.
HIGH_RESOLUTION = 'HR'


@dataclass
class Row:
    """One entry's results. None and missing keys mean: not measured.

    Attributes:
        name (str): In the table.
        config (str, optional): None for bicubic.
        checkpoint (str, optional): None for random weights.
        backend (str): What ran the network.
        parameters (int): Of the network.
        multiply_adds (int, optional): For an output of 1280x720.
        seconds (list[float]): Of each timed run.
        peak_bytes (int): Peak memory above the level before the call.
        scores (dict): Data set -> metric -> value.
    """
    name: str
    config: str | None
    checkpoint: str | None
    backend: str
    parameters: int
    multiply_adds: int | None
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int | None = None
    scores: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def median_seconds(self) -> float:
        return median(self.seconds)


@dataclass
class UpscaledImage:
    """One image of a data set, as each entry with scores upscaled it.

    Attributes:
        data_set (str): The set's name.
        name (str): The file's name without its ending.
        high_resolution (np.ndarray): uint8 (H, W, 3), BGR.
        predictions (dict): Row name -> the same.
        psnr (dict): Row name -> PSNR on Y, dB.
    """
    data_set: str
    name: str
    high_resolution: np.ndarray
    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    psnr: dict[str, float] = field(default_factory=dict)


@dataclass
class Results:
    """All of a benchmark.

    Attributes:
        scale (int): The upscale factor.
        size (tuple[int, int]): Height and width of the timed image, LR pixels.
        settings (dict): What was asked for and where it ran, for the record.
        data_sets (list[str]): Names in order.
        rows (list[Row]): Bicubic first.
        images (list[UpscaledImage]): The images of all data sets.
        files (list[str]): What was written of it.
    """
    scale: int
    size: tuple[int, int]
    settings: dict[str, object]
    data_sets: list[str]
    rows: list[Row]
    images: list[UpscaledImage]
    files: list[str] = field(default_factory=list)
