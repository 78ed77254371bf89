"""Training: from folders of pictures to weights that `dagan upscale` uses."""
