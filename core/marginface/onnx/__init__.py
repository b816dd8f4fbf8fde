"""Models in use: the ONNX contract, ONNX Runtime, embeddings of images and their files."""
