"""Everything that decides a training run."""
