"""Hardware and processes: device and precision, torchrun, CUDA graphs, memory of the C library."""
