"""Nested dicts, lists and tuples of tensors, flattened and put together again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def flatten(tree: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """(leaves, a function that puts new leaves into the same structure)."""
    if isinstance(tree, dict):
        keys = list(tree)
        return _join([tree[k] for k in keys], lambda parts: dict(zip(keys, parts, strict=True)))
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return _join(list(tree), lambda parts: type(tree)(*parts))
    if isinstance(tree, (list, tuple)):
        return _join(list(tree), type(tree))
    if tree is None:
        return [], lambda leaves: None
    return [tree], lambda leaves: leaves[0]


def _join(
    children: list[Any], build: Callable[[list[Any]], Any]
) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    flat = [flatten(child) for child in children]
    leaves = [leaf for part, _ in flat for leaf in part]

    def rebuild(new: list[Any]) -> Any:
        parts, start = [], 0
        for part, restore in flat:
            parts.append(restore(new[start : start + len(part)]))
            start += len(part)
        return build(parts)

    return leaves, rebuild


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with `function` applied to each leaf."""
    leaves, rebuild = flatten(tree)
    return rebuild([function(leaf) for leaf in leaves])
