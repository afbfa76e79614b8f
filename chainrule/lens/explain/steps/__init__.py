"""The steps of a derivation: forward, backward, update, each with its checks."""
