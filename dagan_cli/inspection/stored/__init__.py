"""What image files store, read from their bytes by code that the readers of dagan do not share."""
