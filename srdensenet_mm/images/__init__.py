# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Every file that touches image bytes: finding, decoding, encoding, tensors, bicubic."""
