# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Benchmarking super-resolution models side by side: quality, time and memory."""
