"""The margin head in TensorFlow."""
