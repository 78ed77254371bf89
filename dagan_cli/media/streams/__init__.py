"""What a file holds beside its main picture: sound, subtitles, covers, attachments, tags."""
