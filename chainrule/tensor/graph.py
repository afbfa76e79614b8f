"""The one graph: nodes that running an operation records, and how deeply it is recorded.

A node says which operation ran, on which nodes, with which attributes, what shape and dtype came
out, where in the user's code and in which module. The derivative of a node is made of nodes of the
same kind. Everything that looks at a network (backward, the transforms, the compiler, `explain`)
reads this graph, and there is no other.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.places import Place, Scope

if TYPE_CHECKING:
    from chainrule.tensor.tensor import Tensor

OFF, DERIVATIVE, FULL = 0, 1, 2
"""How deeply to record: nothing; what a derivative will need; every node with its value."""


class _State(threading.local):
    depth: int = DERIVATIVE
    scope: Scope | None = None
    within: str | None = None  # the composite operation that is being expanded
    quiet: bool = False  # NumPy's floating-point warnings are off already
    tracer: Any = None  # who records a function without running it: chainrule.compile.trace
    batches: tuple = ()  # functions being recorded for one example: chainrule.ops.batching
    draws: Any = None  # notes or repeats random numbers: chainrule.tensor.generator.Draws


state = _State()
_serials = itertools.count()
_epochs = itertools.count(1)
epoch = 0
"""Differs after anything changed that a compiled function may have been specialised on, and that
is no argument of it: flags and attributes of modules, `requires_grad`, optimisers' structure, which
gradients there are. While it stays, nothing of that needs to be looked at."""


def changed() -> None:
    """Note that something changed that compiled functions are specialised on."""
    global epoch
    epoch = next(_epochs)


class Node:
    """One operation that ran, or a leaf (`op is None`).

    Attributes:
        op: the `Operation`, None for a leaf.
        inputs: a `Node` for each operand; None for an operand that no derivative was wanted of.
        attrs: the operation's normalised attributes.
        shape, dtype: of the result.
        needs_grad: whether a derivative flows through here.
        wanted: for each operand, whether a derivative flows on to it.
        saved: what the derivative needs: for each operand an array, a Python scalar, or a `Node`
            that stands for its shape and dtype alone; then the same for the output, then what the
            kernel left. None after `backward` has passed.
        value: the result, under full recording and for constants.
        versions: (cell, version) of every parameter whose storage `saved` refers to.
        serial: grows with time, so that sorting by it is a topological order.
    """

    __slots__ = (
        "__weakref__",
        "attrs",
        "dtype",
        "inputs",
        "needs_grad",
        "op",
        "owner",
        "place",
        "saved",
        "scope",
        "serial",
        "shape",
        "value",
        "versions",
        "wanted",
    )

    def __init__(
        self,
        op: Any,
        inputs: tuple[Node | None, ...],
        attrs: dict[str, Any],
        shape: tuple[int, ...],
        dtype: np.dtype,
        needs_grad: bool,
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.shape = shape
        self.dtype = dtype
        self.needs_grad = needs_grad
        self.wanted: tuple[bool, ...] = ()
        self.saved: list[Any] | None = None
        self.value: np.ndarray | None = None
        self.versions: tuple[tuple[Any, int], ...] = ()
        self.serial = next(_serials)
        self.place: Place | None = None
        self.scope = state.scope
        self.owner: weakref.ref[Tensor] | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        name = "leaf" if self.op is None else self.op.name
        return f"<Node {self.serial} {name} {self.shape} {self.dtype}>"


def leaf(shape: tuple[int, ...], dtype: np.dtype, owner: Tensor | None = None) -> Node:
    """A node with no operation, to which derivatives can be taken; `owner` receives `.grad`."""
    node = Node(None, (), {}, shape, dtype, True)
    if owner is not None:
        node.owner = weakref.ref(owner)
    return node


def constant(value: np.ndarray) -> Node:
    """A node for a value that nothing depends on by way of derivatives."""
    node = Node(None, (), {}, value.shape, value.dtype, False)
    node.value = value
    return node


def describe_only(shape: tuple[int, ...], dtype: np.dtype) -> Node:
    """A node that stands for a shape and a dtype: the value was not kept, or does not exist yet."""
    return Node(None, (), {}, shape, dtype, False)


@contextmanager
def recording(depth: int) -> Iterator[None]:
    """Record to the given depth inside of the block (in this thread)."""
    before, state.depth = state.depth, depth
    try:
        yield
    finally:
        state.depth = before


@contextmanager
def quiet() -> Iterator[None]:
    """Let NaN and infinity flow without NumPy's warnings, as they do in a network; entered once
    around many operations, it spares each of them the cost of doing so."""
    if state.quiet:
        yield
        return
    state.quiet = True
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        state.quiet = False


class no_grad:
    """Context manager and decorator: operations inside record nothing for derivatives.

    >>> import chainrule as cr
    >>> w = cr.asarray([1.0, 2.0], requires_grad=True)
    >>> with cr.no_grad():
    ...     y = (w * 3).sum()
    >>> y.requires_grad
    False
    """

    def __enter__(self) -> None:
        self._before = getattr(self, "_before", [])
        self._before.append(state.depth)
        state.depth = OFF

    def __exit__(self, *exc: object) -> None:
        state.depth = self._before.pop()

    def __call__(self, function: Any) -> Any:
        import functools

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with recording(OFF):
                return function(*args, **kwargs)

        return wrapped


def reachable(roots: Iterable[Node], start: int = -1) -> list[Node]:
    """Every node that `roots` are made of, themselves too, oldest first; those whose serial is
    above `start` alone."""
    seen = {root for root in roots if root.serial > start}
    stack = list(seen)
    while stack:
        for node in stack.pop().inputs:
            if node is not None and node.serial > start and node not in seen:
                seen.add(node)
                stack.append(node)
    return sorted(seen, key=_serial)


def ancestors(roots: list[Node], ends: Iterable[Node] = ()) -> list[Node]:
    """Every node that a derivative of `roots` passes, newest first; no recursion, however deep.

    What lies behind `ends` is left out, where nothing else leads there.
    """
    seen = set(roots)
    stack = list(seen.difference(ends))
    while stack:
        for node in stack.pop().inputs:
            if node is not None and node.needs_grad and node not in seen:
                seen.add(node)
                if node not in ends:
                    stack.append(node)
    return sorted(seen, key=_serial, reverse=True)


_serial = attrgetter("serial")
