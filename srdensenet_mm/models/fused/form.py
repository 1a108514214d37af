# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
from typing import Literal

# See network.compute.
Form = Literal['lean', 'trained', 'traced']
