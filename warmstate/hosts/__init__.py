"""What drives an instance: the Runtime API loop and what belongs to it."""
