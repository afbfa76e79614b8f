"""A derivation: a tree of steps, each with its formula, its numbers and its checks.

A step is data. What it claims is recomputed from that data whenever its `checks` are asked for, so
that a step in which anything was altered says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from chainrule.errors import DataError, DTypeError
from chainrule.ops.notation import Formula, Instance
from chainrule.ops.notation.tree import Datum
from chainrule.tensor.inspection import finfo
from chainrule.tensor.products import on_one_thread

HEIGHTS = ("black box", "components", "shapes", "symbols", "numbers", "code")
"""From how high a derivation is looked at; each shows what those above it show, and more."""


class Writing(Protocol):
    """Something that is written in three ways."""

    def plain(self) -> str: ...
    def latex(self) -> str: ...
    def mathml(self) -> str: ...


@dataclass(frozen=True)
class Symbols:
    """A formula of the notation, with other names for its operands."""

    formula: Formula
    names: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> str:
        return self.formula.plain(self.names)

    def latex(self) -> str:
        return self.formula.latex(self.names)

    def mathml(self) -> str:
        return self.formula.mathml(self.names)


@dataclass(frozen=True)
class Words:
    """A formula that the notation has no form for: plain text, LaTeX where there is some."""

    text: str
    tex: str = ""

    def plain(self) -> str:
        return self.text

    def latex(self) -> str:
        from chainrule.ops.notation import parse

        return self.tex or parse(self.text, display_only=True).latex()

    def mathml(self) -> str:
        from chainrule.ops.notation import parse

        return parse(self.text, display_only=True).mathml()


@dataclass(frozen=True)
class Check:
    """A value recomputed by another route.

    Attributes:
        route: how it was recomputed.
        difference: the largest absolute difference found.
        bound: what rounding, and a difference quotient's error, may explain.
    """

    route: str
    difference: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the difference lies within the bound; never where it is not a number."""
        return bool(self.difference <= self.bound)

    def __str__(self) -> str:
        mark = "✓" if self.holds else "✗ does not hold"
        return (
            f"{self.route}: largest difference {self.difference:.2g}, bound {self.bound:.2g} {mark}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "route": self.route,
            "difference": self.difference,
            "bound": self.bound,
            "holds": self.holds,
        }


class Claim(Protocol):
    """What a step says, in a form that can be recomputed from the step as it is now.

    A claim about the value may have a `rounding`: how far rounding in the dtype that ran may put an
    element of the value off.
    """

    def check(self, step: Step) -> Check | None:
        """The recomputation; None where there is nothing to compare."""


@dataclass(frozen=True)
class Element:
    """One element of a step's value, written out with its numbers.

    Attributes:
        index: which element of the step's value.
        instance: the numbers. What its data are elements of is looked up in `sources`.
        sources: for each name among the data, (what it is called here, its array).
    """

    index: tuple[int, ...]
    instance: Instance
    sources: Mapping[str, tuple[str, np.ndarray]] = field(default_factory=dict)

    def label(self, name: str) -> str:
        """`z1[0, 2]`; the name alone of a single number."""
        return f"{name}[{', '.join(map(str, self.index))}]" if self.index else name

    def text(self, name: str) -> str:
        """`z1[0, 2] = 2 · 3 + 1 = 7`; of an element that was only moved, from where."""
        from_where = f" = {self.moved_from}" if self.moved_from else ""
        return f"{self.label(name)}{from_where} = {self.instance.text()}"

    @property
    def moved_from(self) -> str:
        """Where an element that was only moved comes from, such as `x[1, 3]`."""
        datum = self.instance.written
        if not isinstance(datum, Datum) or datum.position < 0:
            return ""
        called, array = self.sources.get(datum.name, ("", np.empty(0)))
        index = [int(i) for i in np.unravel_index(datum.position, array.shape)] if called else []
        return f"{called}{index or ''}"

    def rounding(self, dtype: np.dtype) -> float:
        """How far the numbers' rounding in a dtype may put off what is made of them."""
        return self.instance.rounding(float(finfo(dtype).eps)) if dtype.kind in "fcV" else 0.0

    def check(self, step: Step) -> Check:
        """Every number is the element that it is said to be, and they give the one beside them."""
        worst = 0.0
        for datum in self.instance.data:
            if isinstance(datum, Datum) and datum.name and datum.position >= 0:
                element = self.sources[datum.name][1].reshape(-1)[datum.position]
                worst = max(worst, _gap(element, datum.value, signed=False))
        worst = max(worst, _gap(self.instance.recomputed(), self.instance.value))
        bound = self.instance.rounding()
        if step.value is not None:
            shown = step.value[self.index] if step.value.ndim == len(self.index) else step.value
            off = max(step.rounding, self.rounding(step.value.dtype))
            worst = max(worst, _gap(shown, self.instance.value) - off)
        return Check("the numbers as written", worst, bound)


def _gap(a: Any, b: Any, *, signed: bool = True) -> float:
    """|a − b|; 0 between equal infinities and between two NaN. A sum's terms carry the sign of a
    difference in their first factor, so that an element may stand there with the other sign."""
    a, b = complex(a), complex(b)
    if a == b or (a != a and b != b) or (not signed and a == -b):
        return 0.0
    gap = abs(a - b)
    return float("inf") if gap != gap else gap


@dataclass(frozen=True)
class Step:
    """One statement: that a quantity has this value, and why.

    Attributes:
        name: what the result is called from here on, such as `z1`; unique in a derivation.
        title: the statement in a line, such as `z1 = linear(x, 0.weight, 0.bias)`.
        operation: the operation that gave it, if one did.
        operands: what its operands are called; they name steps or quantities of the derivation.
        rule: the name of the rule by which it follows.
        formula: the general formula, from the operation's declaration.
        named: the same in this network's names, in index form.
        matrix: the same in matrix form, where there is one.
        elements: single elements with their numbers.
        value: the result.
        module: the path of the module that ran it, such as `encoder.0`.
        place: the user's line.
        code: that line's text, or the code that computes the step.
        notes: what it means, for steps about which there is something to say.
        claims: what can be recomputed beside the elements.
    """

    name: str
    title: str
    operation: str = ""
    operands: tuple[str, ...] = ()
    rule: str = ""
    formula: Writing | None = None
    named: Writing | None = None
    matrix: Writing | None = None
    elements: tuple[Element, ...] = ()
    value: np.ndarray | None = None
    module: str = ""
    place: str = ""
    code: str = ""
    notes: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """Everything that the step claims, recomputed."""
        with on_one_thread():
            found = [part.check(self) for part in (*self.claims, *self.elements)]
        return tuple(check for check in found if check is not None)

    @property
    def rounding(self) -> float:
        """How far rounding may put an element of the value off."""
        return max((getattr(claim, "rounding", 0.0) for claim in self.claims), default=0.0)

    @property
    def check(self) -> Check | None:
        """The check that fails, or else the first; None where nothing is recomputed."""
        failing = [check for check in self.checks if not check.holds]
        return next(iter(failing or self.checks), None)

    @property
    def verified(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    @property
    def numbers(self) -> str:
        """The elements with their numbers, a line each."""
        return "\n".join(element.text(self.name) for element in self.elements)

    @property
    def digits(self) -> int:
        """How many digits are written of a number."""
        return max((element.instance.precision for element in self.elements), default=4)

    @property
    def where(self) -> str:
        """Module path and line, as far as they are known."""
        return ", ".join(part for part in (self.module, self.place) if part)

    def walk(self) -> Iterator[Step]:
        yield self

    def __repr__(self) -> str:
        return f"<Step {self.title}>"

    def __str__(self) -> str:
        from chainrule.lens.explain.written.terminal import step_text

        return step_text(self)


@dataclass(frozen=True)
class Section:
    """A heading over steps and further sections.

    Attributes:
        title: the heading.
        parts: what stands under it.
        kind: "part" of the derivation (forward, loss, backward, update …), or a "component", which
            is a module of the network.
        summary: what happens in it, in a sentence; what is seen from the height of components.
    """

    title: str
    parts: tuple[Section | Step, ...]
    kind: str = "part"
    summary: str = ""

    def walk(self) -> Iterator[Step]:
        """Every step under it, in order."""
        for part in self.parts:
            yield from part.walk()

    def __repr__(self) -> str:
        return f"<Section {self.title}, {len(self.parts)} parts>"


@dataclass(frozen=True)
class Derivation:
    """A tree of steps, from what is given to what is shown.

    Attributes:
        title: what was explained.
        sections: the tree.
        given: what the steps start from, by name: the input, the target, the parameters.
        summary: what the whole says, in a few lines.
    """

    title: str
    sections: tuple[Section, ...] = ()
    given: Mapping[str, np.ndarray] = field(default_factory=dict)
    summary: tuple[str, ...] = ()

    heights: ClassVar = HEIGHTS

    @cached_property
    def steps(self) -> list[Step]:
        """Every step, in order."""
        return [step for section in self.sections for step in section.walk()]

    def __getitem__(self, name: str) -> Step:
        """The step that gives the quantity of this name."""
        for step in self.steps:
            if step.name == name:
                return step
        raise DataError(
            f"there is no step {name!r} in this derivation; there are "
            + ", ".join(step.name for step in self.steps)
        )

    def part(self, title: str) -> Derivation:
        """One of its sections alone: the first whose title begins so."""
        for section in _sections(self.sections):
            if section.title.startswith(str(title)):
                return Derivation(section.title, (section,), self.given)
        titles = ", ".join(repr(section.title) for section in self.sections)
        raise DataError(f"there is no section {title!r} in this derivation; there are {titles}")

    @property
    def verified(self) -> bool:
        """Whether every check of every step holds."""
        return all(step.verified for step in self.steps)

    @property
    def failed(self) -> list[Step]:
        """The steps of which a check does not hold."""
        return [step for step in self.steps if not step.verified]

    def verdict(self) -> str:
        """How many claims were recomputed, and which do not agree."""
        count = sum(len(step.checks) for step in self.steps)
        steps = f"{len(self.steps):,} step{'' if len(self.steps) == 1 else 's'}"
        start = f"{count:,} claims in {steps} recomputed by another route; "
        if self.verified:
            return start + "all agree."
        return start + f"these do not agree: {', '.join(step.name for step in self.failed)}."

    # Where it is read

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.title}, {len(self.steps):,} steps; print shows them>"

    def text(self, height: str = "numbers") -> str:
        """Plain text, seen from one of the `heights`."""
        from chainrule.lens.explain.written.terminal import text

        return text(self, height)

    def __str__(self) -> str:
        return self.text()

    def __rich__(self) -> Any:
        from chainrule.lens.explain.written.terminal import rich

        return rich(self, "numbers")

    def html(self) -> str:
        """One self-contained page."""
        from chainrule.lens.explain.written.page import page

        return page(self)

    def _repr_html_(self) -> str:
        from chainrule.lens.explain.written.page import notebook

        return notebook(self)

    def latex(self) -> str:
        """LaTeX source of a document."""
        from chainrule.lens.explain.written.latex import document

        return document(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        from chainrule.lens.explain.written.data import as_dict

        return as_dict(self)

    def to_python(self) -> str:
        """A stand-alone script of plain arithmetic that asserts every number."""
        from chainrule.lens.explain.written.proof import script

        return script(self)

    def save(self, path: str | Path, kind: str = "") -> Path:
        """Write it to a file: a page (.html), LaTeX (.tex), data (.json), a script (.py) or text
        (.txt).

        Args:
            kind: one of these endings, where the file's own is another.

        Raises:
            DataError: another ending, or a folder that is not there.
        """
        import json

        from chainrule.nn.files import write_atomically

        if not isinstance(path, str | Path):
            raise DTypeError(f"a file is named by its path, as text, not {path!r}")
        path = Path(path)
        writers: dict[str, Any] = {
            ".html": self.html,
            ".tex": self.latex,
            ".json": lambda: json.dumps(self.to_dict(), ensure_ascii=False),
            ".py": self.to_python,
            ".txt": self.text,
        }
        kind = kind or path.suffix
        if not path.name or kind not in writers:
            raise DataError(
                f"a derivation is saved as {', '.join(writers)}, not as {path.name!r}; "
                "the file's ending says which"
            )
        written = writers[kind]().encode()

        def write(beside: Path) -> None:
            beside.write_bytes(written)

        write_atomically(path, write)
        return path


def _sections(parts: tuple[Section | Step, ...]) -> Iterator[Section]:
    """Every section among parts, and inside of them."""
    for part in parts:
        if isinstance(part, Section):
            yield part
            yield from _sections(part.parts)


def describe(value: np.ndarray, corner: int = 6, digits: int = 4) -> str:
    """A number; or a shape, the first elements, the norm and the range."""
    if value.size == 1:
        return f"{value.item():.{max(digits, 6)}g}"
    if not value.size:
        return f"{value.shape}: empty"
    flat = value.reshape(-1)
    shown = ", ".join(f"{v:.{digits}g}" for v in flat[:corner])
    more = f", … {flat.size - corner:,} more" if flat.size > corner else ""
    if value.dtype.kind not in "fiu":
        return f"{value.shape}: [{shown}{more}]"
    low, high = (f"{v:.{digits}g}" for v in (flat.min(), flat.max()))
    norm = f"{np.linalg.norm(flat.astype(np.float64)):.{digits}g}"
    return f"{value.shape}: [{shown}{more}], norm {norm}, from {low} to {high}"


def largest(value: np.ndarray) -> tuple[int, ...]:
    """The index of the element that is largest in absolute value."""
    if not value.size:
        return ()
    sizes = np.abs(value)
    flat = int(np.argmax(sizes))
    if not np.isfinite(sizes.flat[flat]):  # the first that is not, whether NaN or ∞
        flat = int(np.argmin(np.isfinite(sizes)))
    return tuple(int(i) for i in np.unravel_index(flat, value.shape))
