"""Workers on the nodes of a Ray cluster: joining it, placing them, and carrying files where no disk is shared."""
