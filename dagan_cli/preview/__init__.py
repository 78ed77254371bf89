"""`dagan preview`: telling parts of an input through several models, before the whole job is started."""
