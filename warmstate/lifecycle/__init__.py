"""What can happen to an execution environment, and how one tells."""
