"""Models that embed images, and the files that hold embeddings."""
