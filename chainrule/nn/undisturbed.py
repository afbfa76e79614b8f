"""Looking at a module without leaving a trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chainrule.nn.module import Module
from chainrule.tensor import generator


@contextmanager
def undisturbed(model: Any, *, training: bool = False) -> Iterator[None]:
    """A module in evaluation mode (or in training mode) for the time of the block; afterwards its
    modes, its buffers and the default generator are as before, to the bit. Any other callable is
    left as it is."""
    modules = list(model.modules()) if isinstance(model, Module) else []
    buffers = list(model.buffers()) if isinstance(model, Module) else []
    modes = [module.training for module in modules]
    values = [buffer.numpy(copy=True) for buffer in buffers]
    random = generator.default.state
    for module in modules:
        object.__setattr__(module, "training", training)
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            object.__setattr__(module, "training", mode)
        for buffer, value in zip(buffers, values, strict=True):
            if (buffer.numpy() != value).any():
                buffer.assign(value)
        generator.default.state = random
