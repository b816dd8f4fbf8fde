"""Images on disk, labelled or paired, and the pipeline that feeds them to training."""
