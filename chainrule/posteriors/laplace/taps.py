"""What goes into the layers of a network and comes out, as it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chainrule.nn.module import Module
from chainrule.places import Scope
from chainrule.tensor import debug
from chainrule.tensor.tensor import Tensor


@dataclass(frozen=True)
class Call:
    """A call of a layer: what went in and came out."""

    scope: Scope
    x: Any
    result: Tensor

    @property
    def layer(self) -> Any:
        return self.scope.module


class _Tap(debug.Watcher):
    def __init__(self, layers: set[int]) -> None:
        self.layers, self.calls = layers, list[Call]()

    def called(self, scope: Scope, args: tuple, result: Any) -> None:
        if id(scope.module) in self.layers:
            self.calls.append(Call(scope, args[0], result))


@contextmanager
def tapped(layers: Iterable[Module]) -> Iterator[list[Call]]:
    """The calls of some layers inside of the block, in order, added to the list it gives."""
    tap = _Tap({id(layer) for layer in layers})
    debug.watchers = (*debug.watchers, tap)
    try:
        yield tap.calls
    finally:
        debug.watchers = tuple(w for w in debug.watchers if w is not tap)


def holders(model: Module, parameters: dict[str, Any]) -> dict[str, Module]:
    """Name of each parameter → the module that it is an attribute of."""
    modules = dict(model.named_modules())
    return {name: modules[name.rpartition(".")[0]] for name in parameters}
