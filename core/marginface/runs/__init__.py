"""What a training run leaves on the disk, and reading it back."""
