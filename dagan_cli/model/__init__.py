"""The paper's generator, its configuration, and its file format."""
