"""How fast the stages of upscaling are on this machine."""
