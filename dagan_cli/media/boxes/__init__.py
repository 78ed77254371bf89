"""The structure of files: elements of Matroska, boxes of MP4."""
