"""Optimisers of the two networks of a run."""
