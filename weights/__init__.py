"""The published models: catalogue, local files, and the Hub."""
