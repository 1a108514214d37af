# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Checks of config, images and checkpoints before a Runner uses them."""
