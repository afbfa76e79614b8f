"""Each rule is a class in a file of its name."""
