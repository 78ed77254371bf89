"""Which inputs a run takes: all, a share of them, those that an earlier run left, or those that appear in a folder."""
