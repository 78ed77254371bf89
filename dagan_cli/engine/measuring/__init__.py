"""Measurements of networks whose cost and receptive field do not follow from a configuration."""
