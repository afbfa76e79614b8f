"""Prints what the comparison with PyTorch's own samples counted, from whichever process ran it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.against.torch_counts import lines


def pytest_terminal_summary(terminalreporter: Any) -> None:
    counts: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        counts.update(dict(report.user_properties).get("samples", {}))
    if counts:
        terminalreporter.section("PyTorch's sample inputs")
        for line in lines(counts):
            terminalreporter.line(line)
