"""Evaluation: figures of verification, identification, templates and rejection; no printing."""
