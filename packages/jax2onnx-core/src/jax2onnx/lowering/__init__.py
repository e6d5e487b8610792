"""Lowering: from the prepared program to ONNX nodes."""
