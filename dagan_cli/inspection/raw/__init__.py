"""Facts of a file from its bytes, without FFmpeg: what its demuxers smooth over, verification must see."""
