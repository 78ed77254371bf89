"""Training data: images, crops, pairs, teacher targets and prefetched batches."""
