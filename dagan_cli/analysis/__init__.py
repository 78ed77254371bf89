"""Measure what a source is: how it was compressed, its noise, its sharpness and its kind. See `measure`."""
