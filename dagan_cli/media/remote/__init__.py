"""Files that are not on this machine: addresses, and stores that list, read and write them. The only user of fsspec."""
