"""Conformal prediction: sets and intervals that hold as often as asked for, whatever the model.

All take bare arrays, of whatever framework: what was predicted of rows that nothing was learnt
from, what was true of them, and what is predicted of new rows.
"""
