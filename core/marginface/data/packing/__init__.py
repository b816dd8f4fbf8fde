"""Converting sets of images from one format into another."""
