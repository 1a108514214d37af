# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Training loops, their sampler, and the random state of each sample."""
