"""The platform's words, pure: requests, answers and events as values, without any I/O."""
