"""Records of a run: journal, curves and report pages."""
