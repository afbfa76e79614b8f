"""Rows unlike those that a network learnt from: scores, a description of what was seen, drift.

Of every score here larger is stranger. All take bare arrays, of whatever framework.
"""
