"""The same work timed on chainrule and on its peers, in one run: `python -m benchmarks`."""
