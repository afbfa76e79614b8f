"""Tensors: values, dtypes, shapes, and the graph that operations leave behind."""
