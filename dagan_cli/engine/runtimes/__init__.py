"""Runtimes, which execute a network on tiles: PyTorch, or a graph that OpenVINO compiled for the tiles' shape."""
