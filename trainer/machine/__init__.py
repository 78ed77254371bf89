"""The machine that trains: device and precision, processes, CUDA graphs, memory of the C library."""
