"""From frames to larger frames: tiles, precision, memory, colour. Knows nothing of files."""
