"""Write a version as an ONNX graph that onnxruntime, tokenizers and numpy answer with alone."""
