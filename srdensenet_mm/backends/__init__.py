# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""What computes a network: torch, onnxruntime, OpenVINO, and the graph that they share."""
