"""The use case: inputs through a network into outputs."""
