"""Streams other than the main video: audio, subtitles, covers, attachments; and tags."""
