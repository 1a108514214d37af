# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Muon, and mixed precision on devices of all kinds."""
