"""Upscaling: read inputs, run them through a network, write outputs."""
