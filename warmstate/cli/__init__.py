"""The `warmstate` command."""
