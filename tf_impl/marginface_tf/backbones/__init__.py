"""Backbones in TensorFlow, built from the core's descriptions."""
