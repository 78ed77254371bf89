"""`dagan compare`: scores of results against their reference, and a page to look at them."""
