"""A derivation: the steps of a computation, each with its formula, its numbers and its check."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Check:
    """A value recomputed by another route.

    Attributes:
        route: how it was recomputed.
        difference: the largest absolute difference found.
        bound: what rounding in the dtype that ran may explain.
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


@dataclass(frozen=True)
class Step:
    """One operation that ran.

    Attributes:
        name: what the result is called from here on, such as `z1`.
        operation: the operation's name.
        operands: what its operands are called.
        formula: the operation's declared formula.
        named: the same in this network's names.
        numbers: one element of the result, written out with its numbers.
        value: the result.
        module: the path of the module that ran it, such as `encoder.0`.
        place: the user's line.
        check: the recomputation; None where the formula is only shown.
        notes: what it means, for steps about which there is something to say.
    """

    name: str
    operation: str
    operands: tuple[str, ...]
    formula: str
    named: str
    numbers: str
    value: np.ndarray
    module: str
    place: str
    check: Check | None
    notes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """Module path and line, as far as they are known."""
        return ", ".join(part for part in (self.module, self.place) if part)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "name": self.name,
            "operation": self.operation,
            "operands": list(self.operands),
            "formula": self.formula,
            "named": self.named,
            "numbers": self.numbers,
            "shape": list(self.value.shape),
            "dtype": str(self.value.dtype),
            "value": self.value.tolist(),
            "module": self.module,
            "place": self.place,
            "check": None
            if self.check is None
            else {
                "route": self.check.route,
                "difference": self.check.difference,
                "bound": self.check.bound,
                "holds": self.check.holds,
            },
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Derivation:
    """The steps from the input to the loss.

    Attributes:
        title: what was explained.
        steps: in the order in which they ran.
    """

    title: str
    steps: list[Step] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        """Whether every check holds."""
        return all(step.check.holds for step in self.steps if step.check is not None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "title": self.title,
            "verified": self.verified,
            "steps": [step.to_dict() for step in self.steps],
        }

    def __str__(self) -> str:
        parts = [self.title, "=" * len(self.title), ""]
        width = len(str(len(self.steps)))
        for number, step in enumerate(self.steps, 1):
            parts.append(
                f"{number:>{width}}. {step.name} = {step.operation}"
                f"({', '.join(step.operands)})   {step.where}"
            )
            indent = " " * (width + 2)
            rows = [
                ("formula", step.formula),
                ("here", step.named),
                ("numbers", step.numbers),
                ("value", describe(step.value)),
                ("check", "" if step.check is None else str(step.check)),
                *(("", note) for note in step.notes),
            ]
            parts.extend(f"{indent}{label:8s} {text}" for label, text in rows if text)
            parts.append("")
        checked = [s.check for s in self.steps if s.check is not None]
        failed = [s.name for s in self.steps if s.check is not None and not s.check.holds]
        parts.append(
            f"{len(checked)} of {len(self.steps)} steps recomputed from their formulas in float64; "
            + ("all agree." if not failed else f"these do not agree: {', '.join(failed)}.")
        )
        return "\n".join(parts)

    def __rich__(self) -> Any:
        from rich.text import Text

        text = Text()
        for line in str(self).splitlines():
            bare = line.strip()
            style = ""
            if "✗" in line or "do not agree" in line:
                style = "bold red"
            elif bare[:1].isdigit() and ". " in bare[:5]:
                style = "bold"
            elif bare.startswith("check"):
                style = "green"
            elif bare.startswith("formula"):
                style = "cyan"
            text.append(line + "\n", style)
        return text


def describe(value: np.ndarray, corner: int = 6) -> str:
    """A number; or a shape, the first elements, the range."""
    if value.size == 1:
        return f"{value.item():.6g}"
    flat = value.reshape(-1)
    shown = ", ".join(f"{v:.4g}" for v in flat[:corner])
    more = f", … {flat.size - corner} more" if flat.size > corner else ""
    low, high = (f"{v:.4g}" for v in (flat.min(), flat.max()))
    return f"{value.shape}: [{shown}{more}], from {low} to {high}"
