"""A derivation written down: for a terminal, a browser, LaTeX, JSON, and as a proof that runs."""
