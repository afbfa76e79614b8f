"""Modules that hold others: in a row, in a list, in a dict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

from chainrule.errors import BoundsError, DTypeError
from chainrule.nn.module import Module, check_module
from chainrule.tensor.locate import Explained


class Container(Module, Explained):
    """Holds modules in an order, each an attribute under its name."""

    def _items(self) -> dict[str, Module]:
        return dict(self._own(Module))

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._items().values()))

    def _replace(self, items: Mapping[str, Module]) -> None:
        """Hold these modules and no others."""
        for name in self._items():
            delattr(self, name)
        for name, module in items.items():
            self.add_module(name, module)


class _Row(Container):
    """Numbered modules: what Sequential and ModuleList have in common."""

    def _key(self, index: Any) -> str:
        names = list(self._items())
        try:
            return names[index.__index__()]
        except (AttributeError, TypeError):
            raise DTypeError(f"a place is a whole number or a slice, not {index!r}") from None
        except IndexError:
            raise BoundsError(
                f"there is no module {index} in this {type(self).__name__} of {len(names)}"
            ) from None

    @overload
    def __getitem__(self, index: slice) -> Any: ...
    @overload
    def __getitem__(self, index: int) -> Any: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            part = Sequential() if isinstance(self, Sequential) else ModuleList()
            part._replace(self._taken(list(self._items().items())[index]))
            part.training = self.training
            return part
        return self._items()[self._key(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._key(index), module)

    def __delitem__(self, index: int | slice) -> None:
        items = list(self._items().items())
        doomed = items[index] if isinstance(index, slice) else [(self._key(index), None)]
        names = {name for name, _ in doomed}
        self._replace(self._taken([item for item in items if item[0] not in names]))

    def _taken(self, items: list[tuple[str, Module]]) -> dict[str, Module]:
        """Numbered anew, unless they have names of their own."""
        if all(name.isdecimal() for name, _ in items):
            return {str(i): module for i, (_, module) in enumerate(items)}
        return dict(items)

    def append(self, module: Module) -> Any:
        """Add a module at the end, and return the container."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end, and return the container."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Put a module before the one at `index`, and return the container."""
        items = list(self._items().items())
        items.insert(index, (str(len(items)), check_module(module, type(self).__name__)))
        self._replace(self._taken(items))
        return self


class Sequential(_Row):
    """Modules in a row: each takes what the one before gives.

    Args:
        modules: the modules, or one dict from names to them. Without names they are numbered.

    Raises:
        DTypeError: one of them is no module (a function, or a class that was not called).

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> model(cr.ones((5, 4))).shape
    (5, 2)
    >>> model[:2]
    Sequential(
      (0): Linear(in_features=4, out_features=8)
      (1): ReLU()
    )
    """

    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            items = modules[0]
        else:
            if len(modules) == 1 and isinstance(modules[0], (list, tuple)):
                raise DTypeError(
                    "Sequential takes its modules one by one: write nn.Sequential(*modules)"
                )
            items = {str(i): module for i, module in enumerate(modules)}
        for name, module in items.items():
            self.add_module(name, check_module(module, type(self).__name__))

    def forward(self, x: Any) -> Any:
        for module in [m for m in vars(self).values() if isinstance(m, Module)]:
            x = module(x)
        return x


class ModuleList(_Row):
    """A list of modules, which a plain list in a module would hide from training and saving.

    >>> from chainrule import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))
    ...     def forward(self, x):
    ...         for layer in self.layers:
    ...             x = x + layer(x)
    ...         return x
    >>> [name for name, _ in Net().named_parameters()][0]
    'layers.0.weight'
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        for i, module in enumerate(modules or ()):
            self.add_module(str(i), check_module(module, type(self).__name__))


class ModuleDict(Container):
    """A dict from names to modules.

    >>> from chainrule import nn
    >>> heads = nn.ModuleDict({"mean": nn.Linear(3, 1), "variance": nn.Linear(3, 1)})
    >>> list(heads), heads["mean"].out_features
    (['mean', 'variance'], 1)
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        self.update(modules or {})

    def __getitem__(self, name: str) -> Any:
        return self._items()[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, check_module(module, type(self).__name__))

    def __delitem__(self, name: str) -> None:
        delattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self._items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._items())

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._items().keys()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return self._items().values()

    def items(self) -> Iterable[tuple[str, Module]]:
        """(name, module) pairs."""
        return self._items().items()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Put these modules in, under their names."""
        for name, module in dict(modules).items():
            self[name] = module
