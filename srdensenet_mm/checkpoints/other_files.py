# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Recognising files that are given as checkpoints by mistake, with the way out."""
import io
import json
import zipfile

_ARCHIVES = {
    0: ((b'\x1f\x8b', 'gzip'), (b'BZh', 'bzip2'), (b'\xfd7zXZ\0', 'xz'),
        (b'7z\xbc\xaf\x27\x1c', '7z'), (b'Rar!', 'RAR'), (b'\x28\xb5\x2f\xfd', 'zstd')),
    257: ((b'ustar', 'tar'), )}
_IMAGES = {
    0: ((b'\x89PNG', 'PNG'), (b'\xff\xd8\xff', 'JPEG'), (b'II*\0', 'TIFF'), (b'MM\0*', 'TIFF'),
        (b'GIF8', 'GIF')),
    8: ((b'WEBP', 'WebP'), )}
_ARRAYS = {0: ((b'\x89HDF', 'HDF5 file'), (b'\x93NUMPY', 'NumPy array'))}
# Characters of a text that are shown, and bytes that are checked.
_SHOWN, _LOOKED_AT = 60, 4096


def is_safetensors(data: bytes) -> bool:
    """Whether bytes begin like a safetensors file: the header's length, then JSON."""
    # The format's own limit. The letters of a text, read as a length, are more.
    return data[8:9] == b'{' and int.from_bytes(data[:8], 'little') <= 100_000_000


def what_it_is(data: bytes) -> str | None:
    """The kind of a file that is no checkpoint of torch, and the way out; None if unknown."""
    if kind := _kind_of(data, _ARCHIVES):
        return f'is a {kind} archive, not a checkpoint: unpack it, and give the file in it'
    if kind := _kind_of(data, _IMAGES):
        return f'is an image ({kind}), not a checkpoint: give the file with the weights'
    if kind := _kind_of(data, _ARRAYS):
        return (f"is no checkpoint of torch's ({kind}): save the weights by "
                'torch.save(state_dict, FILE)')
    if data.startswith(b'PK'):
        return _of_zip(data)
    if data[:1] == b'\x08' and (b'onnx' in data[:99].lower() or b'pytorch' in data[:99]):
        return 'is an ONNX model, not a checkpoint: give the checkpoint that it was made from'
    if data.startswith(b'\x80') and data[1:2] > b'\x02':
        return ("is not a checkpoint of torch's, but a pickle of another program: save the "
                'weights by torch.save(state_dict, FILE)')
    return _of_text(data)


def _kind_of(data: bytes, kinds: dict) -> str | None:
    return next((kind for start, magics in kinds.items() for magic, kind in magics
                 if data.startswith(magic, start)), None)


def _of_zip(data: bytes) -> str | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return 'is not a checkpoint, or a damaged or truncated one: get it once more'
    if any('/code/' in name for name in names):
        return ('is a TorchScript program, not a checkpoint: save the weights of the network that '
                'it was made from')
    if any(name.endswith('data.pkl') for name in names):
        return None  # a checkpoint indeed
    first = names[0] if names else 'nothing'
    return (f'is a zip archive of other things ({first}, ...), not a checkpoint: unpack it, and '
            'give the file in it')


def _of_text(data: bytes) -> str | None:
    try:
        # The last character may be cut off.
        text = data[:_LOOKED_AT].decode(errors='strict' if len(data) < 9 else 'ignore')
    except UnicodeDecodeError:
        return None
    # Random bytes are no text, even if some of them can be decoded.
    if len(text.encode()) < 0.9 * len(data[:_LOOKED_AT]) or not all(
            letter.isprintable() or letter.isspace() for letter in text.lstrip('\ufeff')):
        return None
    text = ' '.join(text.lstrip('\ufeff').split())
    lower = text.lower()
    if text.startswith('version https://git-lfs.'):
        return ('is a Git LFS pointer, not the checkpoint itself: fetch it by "git lfs pull", or '
                'download the file from its page')
    if lower.startswith('<!doctype html') or '<html' in lower[:500]:
        return ('is a web page (HTML), not a checkpoint: the address is that of a page about the '
                'file; download the file itself (.../raw/... or .../resolve/..., not .../blob/...)')
    if lower.startswith('<?xml') or lower.startswith('<error'):
        return (f'is an answer of a server (XML), not a checkpoint: {text[:_SHOWN]!r}; download '
                'the file again')
    if lower.startswith(('{', '[')) and _is_json(data):
        if '"weight_map"' in lower:
            return ('is the list of the parts of a checkpoint (JSON), not a checkpoint: give the '
                    'file with the weights')
        return (f'is JSON, perhaps an answer of a server, not a checkpoint: {text[:_SHOWN]!r}; '
                'give the file with the weights')
    return f'is not a checkpoint but text: {text[:_SHOWN]!r}; give the file with the weights'


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
