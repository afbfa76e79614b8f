"""Forward and gradient on PyTorch's own sample inputs, for every name that both libraries have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tests.against.torch_conventions import FORWARD, PREPARED, REAL_ONLY, RESULTS, ROUGH, TRUTH  # noqa: E402
from tests.against.torch_samples import NAMES, OPS, check, counted, dtypes  # noqa: E402
from tests.against.torch_uncovered import UNCOVERED  # noqa: E402
from tests.against.torch_vocabulary import PAGE, counts_of, page  # noqa: E402


@pytest.mark.parametrize("name", NAMES)
def test_samples_agree(name: str, record_property: Callable[[str, Any], None]) -> None:
    counts: Counter[str] = Counter()
    for dtype in dtypes(name):
        counts += counted(name, dtype)
    record_property("samples", dict(counts))


def test_every_name_is_covered_or_has_a_reason() -> None:
    assert not set(NAMES) & set(UNCOVERED)
    assert set(NAMES) | set(UNCOVERED) == set(OPS)
    for table in (FORWARD, PREPARED, REAL_ONLY, RESULTS, ROUGH, TRUTH):
        assert set(table) <= set(NAMES)


def test_the_page_is_of_these_tables() -> None:
    text = PAGE.read_text()
    assert page(counts_of(text)) == text, "write it again: python -m tests.against.torch_vocabulary"


def test_a_wrong_value_or_gradient_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = NAMES["sin"]
    monkeypatch.setitem(NAMES, "sin", lambda x: right(x) + 1e-6)
    with pytest.raises(AssertionError, match="value"):
        check("sin")
    import chainrule as cr

    monkeypatch.setitem(NAMES, "sin", lambda x: right(cr.stop_gradient(x)) + 0 * x)
    with pytest.raises(AssertionError, match="gradient"):
        check("sin")
