"""How nodes and what kernels compute are written, for those who look at a program.

A leaf is called what it is outside (`x`, `0.weight`), everything else by its number in the graph
(`%12`), in each of the forms alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from chainrule.compile.lower import CONSTANT, HOST, KERNEL, MAP, MEMORY, REDUCE, VIEW, Item
from chainrule.compile.program import (
    Argument,
    Captured,
    Gradient,
    Program,
    Scalar,
    Source,
    Storage,
)
from chainrule.compile.views import Buffer
from chainrule.places import show
from chainrule.tensor.graph import Node

# Operators, and how tightly they bind in Python; what binds less stands in parentheses.
_OPERATORS = {
    "less": ("<", 1), "less_equal": ("<=", 1), "greater": (">", 1), "greater_equal": (">=", 1),
    "equal": ("==", 1), "not_equal": ("!=", 1), "logical_or": ("|", 2), "bitwise_or": ("|", 2),
    "logical_xor": ("^", 3), "bitwise_xor": ("^", 3), "logical_and": ("&", 4),
    "bitwise_and": ("&", 4), "add": ("+", 5), "subtract": ("-", 5), "multiply": ("*", 6),
    "divide": ("/", 6), "matmul": ("@", 6),
}  # fmt: skip
_PREFIXES = {"negative": "-", "logical_not": "~", "bitwise_invert": "~"}
_PREFIX = 7
_TIGHT = 9
_REDUCTIONS = {
    "add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min", "logical_and": "all",
    "logical_or": "any",
}  # fmt: skip
_SAME = ("broadcast_to", "identity", "stop_gradient", "copy", "reshape")

WAYS = {
    "row": "along each row", "outer": "over the rows", "scalar": "over the rows",
    "total": "over all",
}  # fmt: skip
"""Of reductions, as `fuse` has them."""


_SOURCES = (Argument, Captured, Gradient, Storage, Scalar)
_KINDS = ("argument", "from outside", "gradient", "state", "number of the host")


class Names:
    """What the nodes of a program, and the items made of them, are called.

    Args:
        nodes: those that are computed, in their order; others are numbered as they are met.

    Attributes:
        kinds: of the leaves, in the order in which they are shown, what they stand for.
    """

    def __init__(self, program: Program, nodes: Iterable[Node]) -> None:
        self._nodes: dict[Node, str] = {}
        self._items: dict[Item, str] = {}
        self._given: set[str] = set()
        self._storages: dict[int, str] = {}
        self._taken: Counter[str] = Counter()
        for node, source in program.inputs:
            self._nodes[node] = self.source(source)
        kinds = {node: _SOURCES.index(type(source)) for node, source in program.inputs}
        self.kinds = {node: _KINDS[kinds[node]] for node in sorted(kinds, key=kinds.__getitem__)}
        for storage, _ in program.writes:
            self.source(storage)
        self.count = 0
        for node in nodes:
            self.node(node)

    def source(self, source: Source) -> str:
        """A leaf's, by what it stands for."""
        if not isinstance(source, Storage):
            return self._single(source.name)
        key = id(source.array)
        if key not in self._storages:
            self._storages[key] = self._single(source.name)
        return self._storages[key]

    def _single(self, name: str) -> str:
        """The name, with a number from the second of that name on."""
        self._taken[name] += 1
        return name if self._taken[name] == 1 else f"{name}~{self._taken[name]}"

    def node(self, node: Node) -> str:
        found = self._nodes.get(node)
        if found is None:
            if node.op is None and node.value is not None and node.value.size == 1:
                found = _number(node.value.item())
            else:
                found = f"%{self.count}"
                self.count += 1
            self._nodes[node] = found
        return found

    def item(self, item: Item) -> str:
        """An item's: its node's, with a prime if that is another item's already."""
        found = self._items.get(item)
        if found is None:
            found = self.node(item.node)
            if item.kind != MEMORY:
                found += "′" if item.node.op is None else ""
                while found in self._given:
                    found += "′"
                self._given.add(found)
            self._items[item] = found
        return found

    def buffer(self, buffer: Buffer) -> str:
        """A place where results go."""
        if buffer.kind == "storage":
            return self._storages[id(buffer.source)]
        return f"output {buffer.source}" if buffer.kind == "output" else buffer.kind


def _number(value: Any) -> str:
    """As Python writes it, but for digits that float32 does not have."""
    return repr(float(f"{value:.9g}")) if isinstance(value, float) else repr(value)


# Nodes


def node_lines(nodes: Sequence[Node], names: Names, indent: str = "") -> Iterator[str]:
    """A line for each node, leaves first: its name, what it is, dtype and shape, where it is from.

    Single numbers have none: they are written where they are used.
    """
    leaves = [n for n in nodes if n.op is None and (n.value is None or n.value.size != 1)]
    leaves.sort(key=lambda leaf: [*names.kinds, leaf].index(leaf))
    widest = max((len(names.node(leaf)) for leaf in leaves), default=0)
    for leaf in leaves:
        what = names.kinds.get(leaf, "input")
        if leaf.value is not None:
            what = f"constant of {leaf.value.size} numbers"
        yield f"{indent}{names.node(leaf):<{widest}} = {what}  {kind(leaf)}"
    for node in nodes:
        if node.op is None:
            continue
        left = f"{indent}{names.node(node)} = {_call(node, names)}"
        yield f"{left:<58}  {kind(node)}{from_where(node)}"
        for body in _bodies(node):
            inner = [*body.inputs, *(n for n in body.nodes if n not in body.inputs)]
            yield from node_lines(inner, names, indent + "    ")
            yield f"{indent}    results = {', '.join(map(names.node, body.outputs))}"


def _bodies(node: Node) -> tuple[Any, ...]:
    """The graphs within a `scan` or a `cond`."""
    body = node.attrs.get("body")
    return node.attrs.get("bodies", ()) if body is None else (body,)


def _call(node: Node, names: Names) -> str:
    args = ["None" if n is None else names.node(n) for n in node.inputs]
    args += [f"{k}={_told(v)}" for k, v in node.attrs.items() if k not in _UNTOLD]
    return f"{node.op.name}({', '.join(args)})"


_UNTOLD = ("body", "bodies", "kinds", "kept", "linked")
"""Attributes that are shown otherwise, or are the compiler's own."""


def _told(attribute: Any) -> str:
    return str(attribute) if isinstance(attribute, np.dtype) else repr(attribute)


def kind(of: Node | Item) -> str:
    """Dtype and shape: `float32[128, 10]`."""
    return f"{of.dtype}{list(of.shape)}"


def from_where(node: Node) -> str:
    """The user's line and the module that a node comes from, as a comment."""
    places = place_of(node)
    return f"  # {places}" if places else ""


def place_of(node: Node) -> str:
    """`step.py:9 (encoder.0)`, or an empty string where the place is not known."""
    where = show(node.place)
    return f"{where} ({node.scope.describe()})" if where and node.scope is not None else where


# What kernels compute


def inside(roots: Sequence[Item]) -> list[Item]:
    """The roots and everything that is computed together with them, operands first."""
    found: dict[Item, None] = {}
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        item, ready = stack.pop()
        if item in found or item.kind in (CONSTANT, MEMORY):
            continue
        if ready:
            found[item] = None
            continue
        stack.append((item, True))
        stack.extend((arg, False) for arg in reversed(item.args) if not _elsewhere(arg))
    return list(found)


def _elsewhere(item: Item) -> bool:
    """Whether an operand is in memory, or in a register with a name, before it is read."""
    return item.root or item.kind in (CONSTANT, MEMORY)


def equations(roots: Sequence[Item], names: Names) -> Iterator[tuple[Item, str]]:
    """(item, how it is computed) for the roots, and for what several of them read."""
    items = inside(roots)
    readers = Counter(_through(arg) for item in items for arg in item.args)
    for item in items:
        if item.root or (item.kind == MAP and readers[item] > 1):
            yield item, _Writing(names, readers).definition(item)


def _through(item: Item) -> Item:
    """What a view that is not written leads to."""
    while item.kind == VIEW and item.name in _SAME and not _reshapes(item):
        item = item.args[0]
    return item


def _reshapes(item: Item) -> bool:
    return item.name == "reshape" and item.data.axes is None


class _Writing:
    def __init__(self, names: Names, readers: Counter[Item]) -> None:
        self.names, self.readers = names, readers

    def definition(self, item: Item) -> str:
        if item.kind == REDUCE:
            if item.name == "pick":
                x, label = item.args
                return f"{self._operand(x, _TIGHT)}[{self._operand(label)}]"
            return f"{_REDUCTIONS[item.name]}({self._operand(item.args[0])})"
        return self._operation(item)[0]

    def _operand(self, item: Item, least: int = 0) -> str:
        """An operand, in parentheses if it binds less tightly than `least`."""
        item = _through(item)
        if item.kind == CONSTANT:
            return _number(item.data)
        if _elsewhere(item) or (item.kind == MAP and self.readers[item] > 1):
            return self.names.item(item)
        text, tight = self._operation(item)
        return f"({text})" if tight < least else text

    def _operation(self, item: Item) -> tuple[str, int]:
        """(how an item is computed, how tightly that binds)."""
        name, args = item.name, item.args
        if name in _OPERATORS and len(args) == 2:
            sign, tight = _OPERATORS[name]
            chained = tight == 1  # a < b < c is not (a < b) < c
            left = self._operand(args[0], tight + chained)
            return f"{left} {sign} {self._operand(args[1], tight + 1)}", tight
        if name in _PREFIXES:
            return f"{_PREFIXES[name]}{self._operand(args[0], _PREFIX)}", _PREFIX
        if name in _SAME and not _reshapes(item):
            return self._operand(args[0]), 0
        texts = [self._operand(arg) for arg in args]
        if name == "astype":
            return f"{item.dtype}({texts[0]})", _TIGHT
        if name == "permute_dims":
            return self._operand(args[0], _TIGHT) + _turned(item.node.attrs["axes"]), _TIGHT
        if name == "one_hot":
            return f"one_hot({texts[1]}) * {self._operand(args[0], _PREFIX)}", 6
        if name == "inside":
            return f"{item.node.op.name}({', '.join(map(self._operand, _joined(item)))})", _TIGHT
        if name in ("gather", "getitem"):
            index = _index(item.node.attrs["pattern"], texts[1:])
            return f"{self._operand(args[0], _TIGHT)}[{index}]", _TIGHT
        return f"{name}({', '.join(texts)})", _TIGHT


def _joined(item: Item) -> list[Item]:
    """What lies within a larger value, and what elsewhere: of a concatenation all its parts."""
    parts = [item.args[0]]
    while len(item.args) > 1:
        item = item.args[1]
        inner = item.name == "inside" and item.node.op.name == "concat" and item.view is None
        parts.append(item.args[0] if inner else item)
        if not inner:
            break
    return parts


def _index(pattern: tuple, arrays: list[str]) -> str:
    given = iter(arrays)
    parts = []
    for p in pattern:
        if isinstance(p, tuple):
            start, stop, step = ("" if n is None else str(n) for n in p)
            parts.append(f"{start}:{stop}" + (f":{step}" if step not in ("", "1") else ""))
        else:
            parts.append(next(given) if p == "array" else "..." if p is Ellipsis else str(p))
    return ", ".join(parts)


def _turned(axes: tuple[int, ...]) -> str:
    last = len(axes) - 1
    if axes == (*range(last - 1), last, last - 1):
        return ".T" if last == 1 else ".mT"
    return f".permute{axes}"


def title(roots: Sequence[Item], names: Names) -> str:
    """What a kernel does, in a few words: its product, its functions, the state that it updates."""
    words: dict[str, None] = {}
    for item in inside(roots):
        if item.kind == KERNEL and item.name == "matmul":
            words[f"matmul {_product(item)}"] = None
        elif item.kind == REDUCE:
            words[_REDUCTIONS.get(item.name, item.name)] = None
        elif item.kind == HOST:
            words[f"NumPy {item.name}"] = None
        elif item.kind == KERNEL or (item.kind == MAP and item.name not in _PLAIN):
            words[item.node.op.name if item.name == "inside" else item.name] = None
    updated = [
        names.buffer(root.view.buffer)
        for root in roots
        if root.view is not None and root.view.buffer.kind == "storage"
    ]
    functions = list(words)
    if updated:
        cells = [n for n in updated if not any(n.startswith(f"{other}.") for other in updated)]
        functions = [word for word in functions if word != "sqrt"]
        return ", ".join([*_few(functions), f"update {' '.join(_few(cells))}"])
    return ", ".join(_few(functions or [root.name for root in roots]))


_PLAIN = {*_OPERATORS, *_PREFIXES, *_SAME, "where", "astype", "isfinite"}


def _few(words: list[str]) -> list[str]:
    return words if len(words) <= 5 else [*words[:5], "…"]


def _product(item: Item) -> str:
    """Rows, columns and length of the sum, behind the batch."""
    return "×".join(map(str, (*item.shape, item.args[0].shape[-1])))
