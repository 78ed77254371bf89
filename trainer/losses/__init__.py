"""Loss terms: pixel, perceptual, adversarial."""
