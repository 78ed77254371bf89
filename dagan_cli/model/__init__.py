"""The generator of the paper, its configuration, and its file."""
