"""`interpret`: what a network's answers are worth, and what in the input made them so."""
