"""The record of what decided the pixels of a result: which source, model and settings; in the file or beside it."""
