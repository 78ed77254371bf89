"""Defaults of the user's own for `dagan upscale`: recipes, the environment and config.toml."""
