"""Watching operations as they run, and the debug ladder.

Whoever wants to see what runs puts an observer into `observers`; while there is none, an operation
pays for one look at an empty tuple. `CHAINRULE_DEBUG=1..4`, or `with debug.at(level):`, is one that
prints:

1: a line for each operation: the number of its result and of its operands, which make the lines a
   graph; shapes and dtype, module path, the place in the user's code.
2: the time it took and the bytes it made, too.
3: the operations of the backward pass, too, each with the operation whose derivative it is part of.
4: smallest, mean and largest value of each result, and how many are not finite.
"""

from __future__ import annotations

import os
import sys
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.places import Scope, show, user_place
from chainrule.tensor.graph import state

if TYPE_CHECKING:
    from chainrule.tensor.graph import Node


class Run(NamedTuple):
    """An operation that was run: its operands, attributes, result and seconds. `part` is "" for its
    forward pass, or names what else of it ran ("pullback")."""

    op: Any
    values: Sequence[Any]
    attrs: dict
    value: np.ndarray
    elapsed: float
    part: str = ""


class Observer:
    """Somebody who sees what runs."""

    def ran(self, run: Run) -> None:
        """An operation was run."""

    def called(self, scope: Scope, args: tuple, result: Any) -> None:
        """A module was called, and gave a result."""


class Watcher:
    """Somebody who follows a training loop: told a few times a step, not at each operation."""

    def calling(self, scope: Scope) -> None:
        """A module is about to be called."""

    def tracing(self, scope: Scope) -> None:
        """A module is called by a function that is being traced, to be compiled."""

    def called(self, scope: Scope, args: tuple, result: Any) -> None:
        """A module was called, and gave a result."""

    def going_back(self, loss: Any) -> None:
        """`backward()` is about to go through what made `loss`."""

    def stepping(self, optimizer: Any) -> None:
        """An optimiser is about to apply the gradients."""

    def stepped(self, optimizer: Any) -> None:
        """An optimiser applied them."""

    def cleared(self, optimizer: Any) -> None:
        """An optimiser forgot the gradients."""

    def entering(self, function: Any) -> None:
        """A compiled function is called; at full recording it will run operation by operation."""

    def running(self, function: Any, traced: Any, args: tuple, kwargs: dict) -> None:
        """A compiled function is about to run natively."""

    def ran(self, traced: Any, tensors: Sequence[Any], result: Any) -> None:
        """A compiled function ran natively: what it was given, and gave."""


observers: tuple[Observer, ...] = ()
watchers: tuple[Watcher, ...] = ()
of: Node | None = None
"""The node whose derivative is being computed, in a backward pass."""
step_by_step = False
"""Whether compiled functions run operation by operation, so that observers see them."""
level = 0


def _from_environment() -> int:
    text = os.environ.get("CHAINRULE_DEBUG", "0")
    return int(text) if text.isdecimal() else 0


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Show every operation that runs inside of the block to an observer."""
    global observers
    before, observers = observers, (*observers, observer)
    try:
        yield
    finally:
        observers = before


@contextmanager
def at(new_level: int) -> Iterator[None]:
    """Print at this level inside of the block."""
    global level, observers
    before, level, observers = (level, observers), new_level, _without_printers()
    if new_level:
        observers = (*observers, Printer(new_level))
    try:
        yield
    finally:
        level, observers = before


def _without_printers() -> tuple[Observer, ...]:
    return tuple(o for o in observers if not isinstance(o, Printer))


def run(op: Any, values: Sequence[Any], attrs: dict) -> tuple[Any, Any]:
    """Run an operation in front of the observers."""
    start = time.perf_counter()
    with np.errstate(all="ignore"):
        value, residual = op.run(values, attrs)
    value = np.asarray(value)
    tell(Run(op, values, attrs, value, time.perf_counter() - start))
    return value, residual


def tell(what: Run) -> None:
    """Show the observers what ran."""
    for observer in observers:
        observer.ran(what)


def tell_call(scope: Scope, args: tuple, result: Any) -> None:
    """Show the observers that a module was called."""
    for observer in observers:
        observer.called(scope, args, result)


def watched(what: str, *told: Any) -> None:
    """Tell the watchers, those too that join while they are told. While a function is being traced
    nothing happens, and they learn only which modules it calls."""
    told_of = "tracing" if state.tracer is not None and what == "calling" else what
    if state.tracer is not None and told_of != "tracing":
        return
    number = 0
    while number < len(watchers):
        getattr(watchers[number], told_of)(*told)
        number += 1


class Printer(Observer):
    """Prints a line for each operation to standard error."""

    def __init__(self, level: int) -> None:
        self.level = level
        self._numbers: dict[int, tuple[weakref.ref[np.ndarray], int]] = {}
        self._count = 0

    def ran(self, run: Run) -> None:
        if of is not None and self.level < 3:
            return
        op, values, _, value, elapsed, part = run
        operands = ", ".join(self._operand(v) for v in values)
        self._count += 1
        self._numbers[id(value)] = weakref.ref(value), self._count
        way = "→" if of is None else "←"
        name = f"{op.name} {part}".rstrip()
        parts = [f"{way} %{self._count} = {name}  {operands} → {value.shape} {value.dtype}"]
        if of is not None:
            parts.append(f"derivative of {of.op.name}")
        scope = state.scope if of is None else of.scope
        parts.append(scope.describe() if scope is not None else "")
        parts.append(show(user_place(4) if of is None else of.place))
        if self.level >= 2:
            parts.append(f"{elapsed * 1e6:.1f} µs, {value.nbytes:,} bytes")
        if self.level >= 4 and value.size and value.dtype.kind == "f":
            bad = value.size - int(np.isfinite(value).sum())
            with np.errstate(all="ignore"):
                parts.append(
                    f"min {value.min():.4g} mean {value.mean():.4g} max {value.max():.4g}"
                    + (f", {bad} not finite" if bad else "")
                )
        print("  ".join(p for p in parts if p), file=sys.stderr)

    def _operand(self, v: Any) -> str:
        if not isinstance(v, np.ndarray):
            return repr(v)
        reference, number = self._numbers.get(id(v), (None, 0))
        known = reference is not None and reference() is v
        return f"%{number} {v.shape}" if known else f"{v.shape}"


level = _from_environment()
if level:
    observers = (Printer(level),)
