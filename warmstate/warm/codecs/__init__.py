"""How values become bytes, and back."""
