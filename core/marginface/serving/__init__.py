"""From a trained model and photos to an answer."""
