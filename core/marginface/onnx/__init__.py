"""Models as ONNX files: written, run in ONNX Runtime, checked against the framework."""
