"""`cr.derive` on the table of textbook derivatives: the text, the steps, and the numbers."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.calculus.derive import rules, terms
from tests.calculus.derive_drawing import Row
from tests.calculus.derive_table import (
    COLUMNS,
    NOT_TEXTBOOK,
    PAGE,
    PARTS,
    ROWS,
    derived,
    line,
    text,
)

POINTS = range(1, 21)
TOLERANCE = 1e-10
NAMES = [f"{row.name}, in {row.wrt}" for row in ROWS]


def squeezed(formula: str) -> str:
    return "".join(formula.split())


def difference(a: Any, b: Any) -> float:
    """The largest difference, relative to the largest number, or to 1 where all are smaller."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))


def taken(row: Row, args: tuple[np.ndarray, ...]) -> np.ndarray:
    """The derivative by the transforms, without `derive`."""
    k = list(inspect.signature(row.f).parameters).index(row.wrt)
    tensors = [cr.asarray(a) for a in args]
    scalar = row.f(*tensors).ndim == 0
    transform = cr.hessian if row.order == 2 else cr.grad if scalar else cr.jacobian
    return np.asarray(transform(row.f, argnums=k)(*tensors))


def check_numbers(row: Row) -> None:
    """The formula against the textbook's and against the transforms, at points of its own."""
    for seed in POINTS:
        args = row.arguments(seed)
        found, book = np.asarray(derived(row)(*args)), row.value(*args)
        assert difference(found, book) < TOLERANCE
        assert difference(taken(row, args), book) < TOLERANCE


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_the_formula_is_the_textbooks(row: Row) -> None:
    assert squeezed(text(derived(row))) == squeezed(row.form)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_every_step_and_every_form_holds(row: Row) -> None:
    found = derived(row)
    assert found.verified
    assert all(step.holds and step.rule for step in found.steps)
    assert [str(c) for c in found.checks if not c.holds] == []


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_the_numbers_are_the_textbooks(row: Row) -> None:
    check_numbers(row)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_the_python_runs_elsewhere(row: Row) -> None:
    found, space = derived(row), {}
    exec(found.to_python(), space)
    args = row.arguments(99)
    value = space[found.kind.lower()](*(cr.asarray(a) for a in args))
    assert difference(value, row.value(*args)) < TOLERANCE


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_the_page_is_up_to_date(row: Row) -> None:
    """If it is not: python -m tests.calculus.derive_table."""
    assert line(row) in PAGE.read_text().splitlines()


def test_the_page_has_these_rows_alone() -> None:
    lines = [x for x in PAGE.read_text().splitlines() if x.startswith("| ")]
    assert len(lines) == len(ROWS) + len(PARTS)
    assert lines.count(COLUMNS) == len(PARTS)


def test_there_are_enough_rows(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        names = ", ".join(row.name for row in NOT_TEXTBOOK)
        print(f"\nderive: {len(ROWS)} functions, NOT_TEXTBOOK = {len(NOT_TEXTBOOK)}: {names}")
    assert len(ROWS) - len(NOT_TEXTBOOK) >= 60
    assert len(NOT_TEXTBOOK) <= 1


@pytest.mark.parametrize("row", [row for row in ROWS if row.rules], ids=lambda row: row.name)
def test_the_reader_is_shown_the_rules(row: Row) -> None:
    rules = derived(row).rules
    places = [rules.index(rule) for rule in row.rules]
    assert places == sorted(places)


def test_a_wrong_rule_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left out, in any formula: the vector a."""
    rules.all_rules()  # declares them
    wrong = rules.Rule(
        "a = 0", lambda t: terms.zero(t.shape) if repr(t) == "<Variable a>" else None
    )
    monkeypatch.setattr(rules, "_rules", [*rules._rules, wrong])
    row = next(row for row in ROWS if row.name == "aᵀXb")
    found = cr.derive(row.f, row.arguments(0), wrt=row.wrt)
    assert not found.verified
    assert [step.rule for step in found.steps if not step.holds] == ["a = 0"]


def test_a_wrong_textbook_would_be_seen() -> None:
    row = next(row for row in ROWS if row.name == "cross-entropy of logits")
    with pytest.raises(AssertionError):
        check_numbers(replace(row, value=lambda Z, y: 5 * row.value(Z, y)))
    with pytest.raises(AssertionError):
        check_numbers(replace(row, value=lambda Z, y: row.value(Z, y) + 1e-9))
