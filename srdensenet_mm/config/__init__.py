# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Recipes and config files: finding, reading, options."""
