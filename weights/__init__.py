"""The published models: what they are, and where their files lie."""
