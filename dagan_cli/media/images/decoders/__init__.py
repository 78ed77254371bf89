"""Formats that are read without Pillow, and not written."""
