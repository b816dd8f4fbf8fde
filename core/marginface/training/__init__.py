"""Training: configuration, schedules, the loop, checkpoints and the run folder."""
