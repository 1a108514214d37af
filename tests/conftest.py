# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import sys
from pathlib import Path

import torch

# Modules that tests share (plain_srdensenet, ...) lie beside this file.
sys.path.insert(0, str(Path(__file__).parent))

torch.set_num_threads(2)
