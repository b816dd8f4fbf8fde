"""The report: one HTML file that shows how models do on verification sets."""
