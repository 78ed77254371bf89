"""`dagan train` and its commands. The trainer is imported only while one of them runs."""
