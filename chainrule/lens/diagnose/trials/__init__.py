"""Trying remedies: paired seeds, held-out rows, equal budgets."""
