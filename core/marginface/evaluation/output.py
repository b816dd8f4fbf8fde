"""The file that figures are written to."""

METRICS_NAME = "metrics.json"
