"""Where bytes wait that do not fit into memory."""
