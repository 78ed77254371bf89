"""The experiments of the paper: `table` says what is compared, `paper` trains it and writes down what came out."""
