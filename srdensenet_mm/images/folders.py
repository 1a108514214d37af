# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Finding image files in folders."""
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from srdensenet_mm.errors import naming

from .decoding import HEIF_HELP, is_heif

# Endings of the supported formats.
EXTENSIONS = frozenset({
    '.png', '.apng', '.jpg', '.jpeg', '.jpe', '.jfif', '.jfi', '.jif', '.pjpeg', '.pjp', '.mpo',
    '.jp2', '.j2k', '.jpf', '.jpx', '.j2c', '.jpc', '.bmp', '.dib', '.tif', '.tiff', '.webp',
    '.gif', '.avif', '.avifs', '.tga', '.icb', '.vda', '.vst', '.psd', '.ico', '.icns', '.pcx',
    '.sgi', '.qoi', '.dds', '.xbm', '.xpm', '.ppm', '.pgm', '.pbm', '.pnm', '.ras', '.sr'
})
_RAW = 'is a raw file of a camera: develop it into a PNG or TIFF'
_DRAWING = 'is a drawing without pixels: render it into a PNG'
_FLOATS = 'holds floating-point values: convert it to a PNG or TIFF of 16 bits'
_OTHER = 'is of a format that is not read: convert it to PNG'
# Endings of other images -> why they are not read.
_PASSED_OVER = {
    **dict.fromkeys(('.heic', '.heics', '.heif', '.heifs', '.hif'), HEIF_HELP),
    **dict.fromkeys(('.dng', '.cr2', '.cr3', '.crw', '.nef', '.nrw', '.arw', '.orf', '.rw2',
                     '.raf', '.pef', '.srw', '.x3f', '.3fr', '.iiq'), _RAW),
    **dict.fromkeys(('.svg', '.svgz', '.eps', '.ai', '.wmf', '.emf', '.cdr'), _DRAWING),
    **dict.fromkeys(('.exr', '.hdr', '.pfm', '.fits'), _FLOATS),
    **dict.fromkeys(('.jxl', '.jxr', '.hdp', '.wdp', '.pam', '.psb', '.xcf', '.kra', '.clip',
                     '.cur', '.pcd', '.djvu', '.flif', '.bpg', '.ktx', '.ktx2', '.dcm'), _OTHER),
}
# First bytes of images, for files whose names do not show that they are images.
_SIGNATURES = (b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff', b'GIF87a', b'GIF89a', b'8BPS', b'qoif',
               b'\0\0\0\x0cjP  ', b'\xff\x4f\xff\x51')
# Many other files begin as a TIFF does, but they have names that say so.
_TIFF_SIGNATURES = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


def why_no_image(path: Path) -> str | None:
    """Why a file is not used as an image.

    Its ending decides. With an unknown ending, the file's first bytes decide.

    Returns:
        str | None: None for an image. The reason for an image of an unsupported
        format. An empty string for any other file.
    """
    ending = path.suffix.lower()
    if ending in EXTENSIONS:
        return None
    try:
        with open(path, 'rb') as file:
            start = file.read(16)
    except OSError:
        start = b''
    if ending in _PASSED_OVER:
        if is_heif(start) and _reads_heif():
            return None
        return _PASSED_OVER[ending]
    if is_heif(start):
        return None if _reads_heif() else HEIF_HELP
    if (start.startswith(_SIGNATURES) or start[:4] == b'RIFF' and start[8:12] == b'WEBP'
            or start[4:12] in (b'ftypavif', b'ftypavis')
            or not ending and start.startswith(_TIFF_SIGNATURES)):
        return None
    return ''


def take_images(paths: Iterable[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Select the images among files.

    Returns:
        tuple[list[Path], dict[Path, str]]: The images, sorted. And images of
        unsupported formats with the reason. Other files are ignored.
    """
    taken, passed_over = [], {}
    for path in sorted(paths):
        why = why_no_image(path)
        if why is None:
            taken.append(path)
        elif why:
            passed_over[path] = why
    return taken, passed_over


def walk_files(folder: str | Path, left_out: str | Path | None = None) -> Iterator[Path]:
    """The files in a folder and all folders below it.

    Links to folders are followed. A folder found twice (a loop of links) is
    entered once. Hidden files and folders are left out.

    Args:
        folder (str | Path): Where to search.
        left_out (str | Path, optional): A folder that is not entered.

    Raises:
        UserError: A folder cannot be listed.
    """
    entered = set() if left_out is None else {os.path.realpath(left_out)}
    for root, subfolders, files in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(root)
        if real in entered:
            subfolders.clear()
            continue
        entered.add(real)
        # Sorted: which of two ways to one folder is taken must not be the file system's whim.
        subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
        yield from (Path(root, name) for name in files if not name.startswith('.'))


def _raise(error: OSError) -> None:
    with naming(error.filename, 'cannot be listed'):
        raise error


def _reads_heif() -> bool:
    from importlib.util import find_spec
    return find_spec('pillow_heif') is not None
