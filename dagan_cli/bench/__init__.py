"""Measure the speed of the network, and of the stages of upscaling, on this machine."""
