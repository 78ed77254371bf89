"""Training data: images, crops, pairs, targets of a teacher, and batches made ahead of time."""
