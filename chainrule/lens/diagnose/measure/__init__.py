"""Measurements that are made on demand, each from a `Case`."""
