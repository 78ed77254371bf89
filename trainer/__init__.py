"""Training: turns folders of images into weights for `dagan upscale`."""
