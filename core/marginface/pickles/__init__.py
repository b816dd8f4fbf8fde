"""A reader of pickles that runs no code: what plain data needs is admitted by name."""
