"""Live things that are opened, checked, replaced and closed."""
