"""Decode and encode video files."""
