"""The experiments of the paper: `table` defines the comparisons, `paper` trains the arms and writes the results."""
