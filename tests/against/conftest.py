"""Prints what the comparisons counted, from whichever process ran them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.against.torch_counts import lines


def pytest_terminal_summary(terminalreporter: Any) -> None:
    def counted(name: str) -> Counter[str]:
        counts: Counter[str] = Counter()
        for report in terminalreporter.stats.get("passed", []):
            counts.update(dict(report.user_properties).get(name, {}))
        return counts

    if samples := counted("samples"):
        terminalreporter.section("PyTorch's sample inputs")
        for line in lines(samples):
            terminalreporter.line(line)
    if transforms := counted("jax"):
        terminalreporter.section("functions beside JAX's")
        terminalreporter.line(f"{transforms.total():,} comparisons agree")
        for name, count in transforms.items():
            terminalreporter.line(f"  {name}: {count}")
