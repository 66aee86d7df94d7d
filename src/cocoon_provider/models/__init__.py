"""From a GGUF file to an ONNX graph: pull, read, build, describe."""
