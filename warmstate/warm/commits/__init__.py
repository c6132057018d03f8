"""Units of work: what they commit, where commits go, and what a later process adopts of them."""
