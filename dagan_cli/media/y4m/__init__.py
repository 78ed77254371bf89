"""Exchange frames with other programs through pipes, as YUV4MPEG2."""
