"""The forward pass and the loss, step by step, from the one graph.

Every line of a step comes from the operation that ran: its declared formula, the operands that it
was given, the value that it left. The check evaluates the same formula in float64.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from chainrule.lens.explain.derivation import (
    Check,
    Element,
    Section,
    Step,
    Symbols,
    largest,
)
from chainrule.lens.explain.record import Recorded
from chainrule.lens.explain.steps.notes import notes
from chainrule.lens.explain.steps.views import Behind, behind, moved
from chainrule.ops.notation import Instance
from chainrule.ops.notation.substitute import Origin
from chainrule.ops.notation.tree import Datum, Flat
from chainrule.ops.operation import Operation
from chainrule.places import file_and_line, show
from chainrule.tensor.graph import OFF, Node, reachable, recording
from chainrule.tensor.inspection import finfo
from chainrule.tensor.tensor import Tensor


def forward_sections(recorded: Recorded) -> tuple[Section, ...]:
    """The forward pass, a section for each module inside of it, and the loss."""
    steps = []
    for node in recorded.nodes:
        step = forward_step(recorded, node)
        steps.append((node, step))
        if breaks(node):
            break
    inner = set(reachable([recorded.output])) if recorded.output is not None else set()
    passed = [(node, step) for node, step in steps if node in inner]
    after = [(node, step) for node, step in steps if node not in inner]
    found = []
    if passed:
        found.append(Section("Forward pass", grouped(passed)))
    if after:
        found.append(Section("Loss", grouped(after)))
    return tuple(found)


def breaks(node: Node) -> bool:
    """Whether what a node gave is not finite, so that there is nothing to explain behind it."""
    value = node.value
    if value is None or value.dtype.kind not in "fc" or np.isfinite(value).all():
        return False
    # A mask of −∞ is meant; a NaN or +∞ is not.
    return bool(np.isnan(value).any() or np.isposinf(value.real).any())


def grouped(steps: list[tuple[Node, Step]], depth: int = 0) -> tuple[Section | Step, ...]:
    """Steps under the modules that ran them."""
    parts: list[Section | Step] = []
    start = 0
    scopes = {node.scope: _path(node) for node, _ in steps}
    paths = [scopes[node.scope] for node, _ in steps]
    while start < len(steps):
        if len(paths[start]) <= depth:
            parts.append(steps[start][1])
            start += 1
            continue
        end = start
        while end < len(steps) and paths[end][: depth + 1] == paths[start][: depth + 1]:
            end += 1
        name, module = paths[start][depth]
        inside = grouped(steps[start:end], depth + 1)
        mine = [step for _, step in steps[start:end]]
        shapes = f"{_input(mine)} → {_results(mine)}"
        parts.append(
            Section(f"{name} ({type(module).__name__})", inside, "component", shapes.strip())
        )
        start = end
    return tuple(parts)


def _input(steps: list[Step]) -> str:
    """What goes into a module: the first operand that is none of its own steps."""
    made = {step.name for step in steps}
    return next((name for step in steps for name in step.operands if name not in made), "")


def _results(steps: list[Step]) -> str:
    """What leaves a module: what none of its own steps takes."""
    taken = {name for step in steps for name in step.operands}
    left = [step for step in steps if step.name not in taken]
    shown = [f"{s.name} {'' if s.value is None else s.value.shape}".strip() for s in left[:3]]
    return ", ".join([*shown, f"… {len(left) - 3} more"] if len(left) > 3 else shown)


def _path(node: Node) -> list[tuple[str, Any]]:
    """(dotted name, module) of the modules inside the outermost one that a node ran in."""
    found: list[tuple[str, Any]] = []
    scope = node.scope
    while scope is not None and scope.parent is not None:
        found.append((scope.path(), scope.module))
        scope = scope.parent
    return found[::-1]


def forward_step(recorded: Recorded, node: Node) -> Step:
    """The step of one operation that ran."""
    assert node.saved is not None
    assert node.value is not None
    op: Operation = node.op
    names = recorded.names
    arrays = node.saved[: len(node.inputs)]
    operands = tuple(names.of(a) for a in arrays if a is not None)
    name = names.of(node.value)
    called = tuple("" if a is None else names.of(a) for a in arrays)
    claim = FormulaClaim(op, tuple(arrays), node.attrs, node.value, _terms(node), called)
    element = claim.element(largest(node.value)) if node.value.size else None
    remarks = notes(node)
    return Step(
        name=name,
        title=f"{name} = {op.name}({', '.join(operands)})",
        operation=op.name,
        operands=operands,
        rule="definition",
        formula=Symbols(op.formula),
        named=Symbols(op.formula, renamed(op, node, names)),
        elements=() if element is None else (element,),
        value=node.value,
        module=node.scope.describe() if node.scope is not None else "",
        place=show(node.place),
        code=source_line(node),
        notes=(*(remark.written for remark in remarks), *_broken(node, names)),
        claims=(claim, *remarks),
    )


def _broken(node: Node, names: Any) -> tuple[str, ...]:
    if not breaks(node):
        return ()
    assert node.value is not None
    assert node.saved is not None
    bad = node.value.size - int(np.isfinite(node.value).sum())
    where = largest(node.value)
    arrays = [a for a in node.saved[: len(node.inputs)] if isinstance(a, np.ndarray)]
    given = [names.of(a) for a in arrays if a.dtype.kind in "fc" and not np.isfinite(a).all()]
    why = f"not finite already: {', '.join(given)}" if given else "all of its operands were finite"
    return (
        f"{bad:,} of {node.value.size:,} elements are not finite, first at {list(where)}; {why}. "
        "Nothing behind this step can be explained.",
    )


def renamed(op: Operation, node: Node, names: Any) -> dict[str, str]:
    """What the formula's operands, and its result, are called in this network."""
    assert node.saved is not None
    arrays = node.saved[: len(node.inputs)]
    found = {
        key: names.of(value)
        for key, value in zip(op.operand_names, arrays, strict=False)
        if names.knows(value) or not isinstance(value, (np.ndarray, type(None)))
    }
    return {op.formula.output if not op.display_only else "y": names.of(node.value), **found}


def source_line(node: Node) -> str:
    """The text of the user's line that ran an operation; "" where it cannot be read."""
    if node.place is None:
        return ""
    return linecache.getline(*file_and_line(node.place)).strip()


def _terms(node: Node) -> float:
    """How many terms an element of the result adds up, for the bound on rounding."""
    size = max(1, int(np.prod(node.shape)))
    return max(1.0, node.op.cost(node)[0] / size)


@dataclass(frozen=True, eq=False)
class FormulaClaim:
    """That a value is what the operation's declared formula gives.

    A few roundings of the largest element are allowed, 4 √K of them for an element that adds up K
    terms. Where that does not explain a difference, what rounding may explain is measured: the
    formula is evaluated again with every operand, and every value on the way, moved by one unit in
    the last place, up or down at random (Monte Carlo arithmetic, Parker 1997). The largest change δ
    stands for one rounding of each; an output that adds up K terms may be off by some √K of it.

    Attributes:
        op: the operation.
        operands: as it was given them.
        attrs: its attributes.
        value: what it gave.
        terms: K.
        called: what the operands are called.
    """

    op: Operation
    operands: tuple[Any, ...]
    attrs: dict[str, Any]
    value: np.ndarray
    terms: float
    called: tuple[str, ...] = ()

    def view(self, value: np.ndarray) -> tuple[dict[str, Any], np.ndarray] | None:
        """(what the formula's names stand for, the result as it sees it); None if only shown."""
        if self.op.display_only:
            return None
        if self.op.formula_view is not None:
            return self.op.formula_view(*self.operands, y=value, **self.attrs)
        return dict(zip(self.op.operand_names, self.operands, strict=False)), value

    def element(self, index: tuple[int, ...]) -> Element | None:
        """One element of the value, with its numbers; None where the formula is only shown, and
        the operation does not just move elements."""
        if self.seen is None:
            return self._moved(index)
        origin = self.origin(index)
        assert origin is not None
        written = self.op.formula.instantiate(origin.operands, origin.index, places=origin.places)
        return Element(index, written, self.sources)

    def origin(self, index: tuple[int, ...]) -> Origin | None:
        """What an element of the value is, in the formula; None where it is only shown."""
        if self.seen is None:
            return None
        inside = self.behind.index(index, self.value)
        if isinstance(self.op.formula.statements[-1].target, Flat):
            inside = (int(np.ravel_multi_index(index, self.value.shape)),)
        return Origin(self.op.formula.statements, self.seen[0], inside, self.behind.places)

    @cached_property
    def sources(self) -> dict[str, tuple[str, np.ndarray]]:
        """(what it is called, the array) for each of the formula's arrays."""
        assert self.seen is not None
        own = self.behind.operand
        return {
            key: (self.called[own[key]], self.operands[own[key]]) if key in own else (key, array)
            for key, array in self.seen[0].items()
            if isinstance(array, np.ndarray)
        }

    def _moved(self, index: tuple[int, ...]) -> Element | None:
        """An element that stands somewhere in an operand, too."""
        found = self.moved
        if found is None:
            return None
        at, places = found
        which, place = int(at[index]), int(places[index])
        name, array = self.called[which], self.operands[which]
        value = self.value[index].item()
        return Element(index, Instance(Datum(value, name, place), value), {name: (name, array)})

    @cached_property
    def moved(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(in which operand, at which position) each element of the value stands, too."""
        return moved(self.op, self.operands, self.attrs, self.value)

    @cached_property
    def seen(self) -> tuple[dict[str, Any], np.ndarray] | None:
        """The view of the value that the operation gave."""
        return self.view(self.value)

    @cached_property
    def behind(self) -> Behind:
        """What stands behind the formula's arrays."""
        return behind(self.op, self.operands, self.attrs, self.value)

    def evaluate(
        self,
        operands: dict[Any, Any],
        shape: tuple[int, ...],
        rounding: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        """The formula in float64; the operation itself, in float64, where it is only shown."""
        if not self.op.display_only:
            return self.op.formula.evaluate(widened(operands), shape, rounding=rounding)
        with recording(OFF), np.errstate(all="ignore"):
            values = widened(operands).values()
            given = [Tensor(v) if isinstance(v, np.ndarray) else v for v in values]
            return self.op.apply(given, self.attrs).numpy()

    @cached_property
    def measured(self) -> tuple[np.ndarray, float, float]:
        """(the exact result as the formula sees it, what rounding may explain, how far the value
        that the operation gave lies from it)."""
        view = self.view(self.value)
        given: dict[Any, Any] = dict(enumerate(self.operands)) if view is None else view[0]
        shape = (self.value if view is None else view[1]).shape
        exact = self.evaluate(given, shape)
        info = finfo(self.value.dtype) if self.value.dtype.kind in "fcV" else None
        eps = 0.0 if info is None else info.eps
        # The smallest numbers have fewer digits.
        least = 0.0 if info is None else 4 * self.terms * eps * info.smallest_normal
        plain = 4 * float(np.sqrt(self.terms)) * eps * largest_finite(exact) + least
        gap = furthest(self.value if view is None else view[1], exact)
        if gap <= plain:
            return exact, plain, gap
        rng = np.random.default_rng(0)
        change = 0.0
        for _ in range(3 if eps else 0):
            nudged = partial(moved_by_one_unit, eps=eps, rng=rng)
            moved = {k: nudged(v) for k, v in given.items()}
            change = max(change, furthest(self.evaluate(moved, shape, nudged), exact))
        bound = 4 * float(np.sqrt(self.terms)) * change + 4 * eps * largest_finite(exact)
        bound += least
        return exact, bound, gap

    @property
    def rounding(self) -> float:
        """What rounding may explain."""
        return self.measured[1]

    def check(self, step: Step) -> Check:
        assert step.value is not None
        exact, bound, gap = self.measured
        if step.value is not self.value:
            view = self.view(step.value)
            gap = furthest(step.value if view is None else view[1], exact)
        route = "the operation" if self.op.display_only else "formula"
        return Check(f"{route} in float64", gap, bound)


def furthest(a: np.ndarray, b: np.ndarray) -> float:
    """The largest |a − b|; equal infinities, and two NaN, are equal."""
    a, b = _wide(a), _wide(b)
    if a.shape != b.shape:
        return float("inf")
    if not a.size:
        return 0.0
    with np.errstate(all="ignore"):
        gap = np.abs(a - b)
        worst = float(gap.max())
        if worst != worst:  # a NaN, or equal infinities
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            worst = float(np.where(same, 0.0, gap).max())
    return worst if worst == worst else float("inf")


def largest_finite(values: np.ndarray) -> float:
    """The largest finite absolute value."""
    sizes = np.abs(values)
    largest = float(np.max(sizes, initial=0.0))
    if not np.isfinite(largest):
        largest = float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))
    return largest


def _wide(value: np.ndarray) -> np.ndarray:
    if value.dtype.kind == "c":
        return value.astype(np.complex128, copy=False)
    return value.astype(np.float64, copy=False) if value.dtype.kind in "fVbiu" else value


def widened(operands: dict[Any, Any]) -> dict[Any, Any]:
    """The floating-point arrays among operands in float64."""
    return {
        k: _wide(v) if isinstance(v, np.ndarray) and v.dtype.kind in "fcV" else v
        for k, v in operands.items()
    }


def moved_by_one_unit(value: Any, eps: float, rng: np.random.Generator) -> Any:
    """Every element up or down by its rounding, at random."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fcV":
        return value
    bits = np.frombuffer(rng.bytes(value.size // 8 + 1), np.uint8)
    signs = np.unpackbits(bits, count=value.size).reshape(value.shape) * 2.0 - 1.0
    with np.errstate(over="ignore"):
        return _wide(value) * (1 + eps * signs)
