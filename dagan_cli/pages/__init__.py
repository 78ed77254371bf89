"""Pages of HTML in one file, which open from disk without a network: comparisons, previews and reports of training."""
