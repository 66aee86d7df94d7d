"""Inference on ONNX Runtime: one job a file."""
