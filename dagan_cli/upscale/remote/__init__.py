"""Inputs and outputs that are not on this machine: fetched to a spool, upscaled there as files, and sent."""
