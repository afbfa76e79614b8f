"""Emitting LLVM code."""
