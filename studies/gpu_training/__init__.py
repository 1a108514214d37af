# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Training on a GPU that is at hand for half an hour, see ``docs/gpu_training.md``."""
