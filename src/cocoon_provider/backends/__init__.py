"""What produces tokens: ONNX Runtime, or an echo for tests and development."""
