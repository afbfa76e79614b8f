"""A derivation as plain data, for JSON.

The form is `SCHEMA`, at present 1; it grows by further keys, and is another number once a key means
something else. Everything is a str, bool, int, float, list, dict or None. What JSON has no number
for is a string: "nan", "inf", "-inf"; a complex number is {"real": …, "imag": …}.

    schema      1
    title, summary, verified, verdict
    given       name → array
    sections    title, kind ("part" or "component"), summary, parts: sections, or names of steps
    steps       in order; each has
                name, title, operation, operands, rule, module, place, code, notes, verified
                formula, named, matrix     {"plain", "latex"} or None
                elements                   index, label, value, text, latex, count (of a sum's
                                           terms) and terms, the numbers written: each its value,
                                           the name and index of what it is an element of, or the
                                           count of terms that a remainder stands for
                value                      array or None
                checks                     route, difference, bound, holds
                check                      the one that fails, or else the first; or None

An array is its shape, dtype, norm, min and max, and its values where they are at most 4,096 (nested
lists); of a larger one the first 6 rows and columns of the last two axes, as its `corner`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.lens.explain.derivation import Derivation, Element, Section, Step, Writing
from chainrule.ops.notation.tree import Rest

SCHEMA = 1
MOST = 4096
"""Of how many values at most an array has all of them."""
CORNER = 6


def as_dict(derivation: Derivation) -> dict[str, Any]:
    """Everything about a derivation.

    >>> import chainrule as cr
    >>> data = as_dict(cr.explain(cr.exp, cr.asarray([1.0, 2.0])))
    >>> data["schema"], data["verified"], data["steps"][0]["formula"]["plain"]
    (1, True, 'y = exp(x)')
    >>> data["given"]["x"]["values"]
    [1.0, 2.0]
    """
    return {
        "schema": SCHEMA,
        "title": derivation.title,
        "summary": list(derivation.summary),
        "verified": derivation.verified,
        "verdict": derivation.verdict(),
        "given": {name: array(np.asarray(value)) for name, value in derivation.given.items()},
        "sections": [_section(section) for section in derivation.sections],
        "steps": [_step(step) for step in derivation.steps],
    }


def _section(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "kind": section.kind,
        "summary": section.summary,
        "parts": [
            _section(part) if isinstance(part, Section) else part.name for part in section.parts
        ],
    }


def _step(step: Step) -> dict[str, Any]:
    plain = ("name", "title", "operation", "rule", "module", "place", "code", "verified")
    return {
        **{key: getattr(step, key) for key in plain},
        "operands": list(step.operands),
        "notes": list(step.notes),
        "formula": _writing(step.formula),
        "named": _writing(step.named),
        "matrix": _writing(step.matrix),
        "elements": [_element(element, step.name) for element in step.elements],
        "value": None if step.value is None else array(step.value),
        "checks": [_plain(check.to_dict()) for check in step.checks],
        "check": None if step.check is None else _plain(step.check.to_dict()),
    }


def _writing(writing: Writing | None) -> dict[str, str] | None:
    return None if writing is None else {"plain": writing.plain(), "latex": writing.latex()}


def _element(element: Element, name: str) -> dict[str, Any]:
    instance = element.instance
    return {
        "index": list(element.index),
        "label": element.label(name),
        "value": _plain(instance.value),
        "text": instance.text(),
        "latex": instance.latex(),
        "count": instance.count,
        "terms": [_number(datum, element) for datum in instance.data],
    }


def _number(datum: Any, element: Element) -> dict[str, Any]:
    if isinstance(datum, Rest):
        return {"value": _plain(datum.value), "count": datum.count}
    found: dict[str, Any] = {"value": _plain(datum.value)}
    if datum.name in element.sources and datum.position >= 0:
        called, behind = element.sources[datum.name]
        found["name"] = called
        found["index"] = [int(i) for i in np.unravel_index(datum.position, behind.shape)]
    return found


def array(value: np.ndarray) -> dict[str, Any]:
    """An array as plain data: shape, dtype, norm, range; values, or a corner of them."""
    found: dict[str, Any] = {"shape": list(value.shape), "dtype": str(value.dtype)}
    if value.size and value.dtype.kind in "fiu":
        wide = value.astype(np.float64)
        with np.errstate(all="ignore"):
            found |= {
                "norm": _plain(float(np.linalg.norm(wide))),
                "min": _plain(float(wide.min())),
                "max": _plain(float(wide.max())),
            }
    if value.size <= MOST:
        return {**found, "values": _plain(value.tolist())}
    corner = value[(0,) * (value.ndim - 2)] if value.ndim > 2 else value
    return {**found, "corner": _plain(corner[(slice(CORNER),) * corner.ndim].tolist())}


def _plain(value: Any) -> Any:
    """A value with nothing in it that JSON has no form for."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, complex):
        return {"real": _plain(value.real), "imag": _plain(value.imag)}
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)) or hasattr(value, "__float__"):
        number = float(value)
        return number if math.isfinite(number) else str(number)
    return str(value)
