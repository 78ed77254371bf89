"""`dagan compare`: numbers for results beside their reference, and a page to look at them."""
