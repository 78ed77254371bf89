"""YUV4MPEG2 on pipes: frames from other programs, and for them."""
