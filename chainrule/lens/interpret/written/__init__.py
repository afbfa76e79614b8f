"""An interpretation for people: terminal, notebook, page."""
