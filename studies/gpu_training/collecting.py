# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Making published checkpoints, with log and curve, from a training's results."""
import json
import tempfile
from pathlib import Path

import torch

from srdensenet_mm.checkpoints import publish_checkpoint, save_network
from srdensenet_mm.errors import UserError
from srdensenet_mm.files import atomic_write
from srdensenet_mm.models import SRDenseNet


def collect(run: Path, out: Path) -> None:
    """Publish each finished scale as ``srdensenet_xS-HASH.pth``, ``.log.jsonl`` and ``.png``.

    Args:
        run (Path): Folder of the training's files.
        out (Path): Where to publish.

    Raises:
        UserError: No scale is finished.
    """
    import training_curve
    files = sorted(run.glob('x[234].pt'))
    if not files:
        raise UserError(f'{run}: holds no x2.pt, x3.pt or x4.pt of a finished phase')
    for file in files:
        saved = torch.load(file, map_location='cpu', weights_only=True)
        network = SRDenseNet(upscale_factor=saved['scale'], **saved['network'])
        network.load_state_dict(saved['state_dict'])
        with tempfile.TemporaryDirectory() as folder:
            ready = Path(folder) / 'ready.pth'
            save_network(network.eval(), ready, iter=saved['iter'], averaged_weights=True)
            path = publish_checkpoint(ready, out, f'srdensenet_x{saved["scale"]}').path
        entries = [entry for saved_entry in saved['log'] if saved_entry['scale'] == saved['scale']
                   for entry in _entries(saved_entry)]
        with atomic_write(path.with_suffix('.log.jsonl')) as temporary:
            temporary.write_text(''.join(json.dumps(entry) + '\n' for entry in entries))
        with atomic_write(path.with_suffix('.png')) as temporary:
            training_curve.draw(entries, temporary)
        print(f'{path}: {saved["iter"]} steps, Set5 {entries[-1]["PSNR"]} dB on luma')


def _entries(saved: dict) -> list[dict]:
    """The training's and the validation's entry, as ``studies/training_curve.py`` has them."""
    trained = [] if saved['loss'] is None else [
        dict(iter=saved['iter'], loss=saved['loss'], lr=saved['lr'], phase=0)]
    rest = {key: saved[key] for key in ('held_back', 'dead') if key in saved}
    return [*trained, dict(iter=saved['iter'], PSNR=saved['set5'], phase=0, **rest)]
