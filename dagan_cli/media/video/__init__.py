"""Video files: decode frames, encode them again."""
