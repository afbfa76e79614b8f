"""A diagnosis for people: terminal, page, data."""
