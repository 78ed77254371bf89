"""The command line: each module is one command, and `app` registers them."""
