"""Make one video in pieces that are decoded, upscaled and encoded apart, by any number of processes."""
