"""The store of keyed values, in memory and in /tmp."""
