"""Verification sets: pairs of images in the field's files and lists."""
