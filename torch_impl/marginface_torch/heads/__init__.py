"""The margin head in PyTorch."""
