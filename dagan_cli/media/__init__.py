"""Read and write images and video as arrays, with everything needed to write them back."""
