# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Exporting networks as ONNX models."""
from .exporting import ExportReport, export_checkpoint

__all__ = ['ExportReport', 'export_checkpoint']
