"""What a run writes, read back and drawn: journal, curves, pages."""
