# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""A user's mistakes in config, images and checkpoints, before a Runner meets them."""
