"""Backbones in PyTorch, built from the core's descriptions."""
