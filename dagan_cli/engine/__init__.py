"""Upscale frames: tiles, precision, memory, colour. Independent of files."""
