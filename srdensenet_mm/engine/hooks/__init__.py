# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Hooks that keep a training safe."""
