"""Append-only buffers that are flushed in batches."""
