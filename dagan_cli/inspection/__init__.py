"""Inspect media files: facts of one file, and a comparison of an upscaled file with its source."""
