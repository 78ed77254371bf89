"""What executes a network on tiles: PyTorch, or a graph that OpenVINO compiled for the shape of the tiles."""
