"""Results and progress as people read them on a terminal: tables that fit its width, and the state of a whole job."""
