"""Modules and parameters as Python writes them."""

from __future__ import annotations

import re


def written(path: str) -> str:
    """The expression for the module or parameter at a path.

    >>> written("0"), written("encoder.layers.1.weight"), written("")
    ('model[0]', 'model.encoder.layers[1].weight', 'model')
    """
    return "model" + re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", f".{path}" if path else "")


def shown(where: str) -> str:
    """A finding's place for people: a path that begins with a number says nothing by itself.

    >>> shown("0.weight"), shown("encoder.fc"), shown("optimizer")
    ('model[0].weight', 'encoder.fc', 'optimizer')
    """
    return written(where) if re.match(r"\d+(\.|$)", where) else where
