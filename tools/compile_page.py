"""Write what docs/compile.md shows, by running its step: `make docs-compile`.

The page's first block of code is run as `step.py`. What lies between `<!-- made: NAME -->` and
`<!-- end -->` is then replaced by what NAME stands for here.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PAGE = ROOT / "docs" / "compile.md"
MADE = re.compile(r"<!-- made: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)

PORTABLE = ("traced", "simplified", "graph", "fused")
"""What is the same on every machine; the suite fails when one of these is stale."""

KERNEL = "update 0.bias"  # whose code is shown


def run_step(page: str) -> dict[str, Any]:
    """What the names of the page's first block mean once it has run."""
    block = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert block is not None
    namespace: dict[str, Any] = {"__name__": "step"}
    exec(compile(block[1], "step.py", "exec"), namespace)
    return namespace


def makers(names: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """What each name stands for."""
    fast, x, y = names["fast"], names["x"], names["y"]

    def code(kind: str) -> str:
        number = next(
            re.split(r"\W", line)[1]
            for line in fast.show("fused").splitlines()
            if line.startswith("kernel ") and KERNEL in line
        )
        return text(fast.show(kind, kernel=int(number)))

    return {
        "processor": processor,
        "traced": lambda: text(first_update(fast.show("traced"))),
        "simplified": lambda: simplified(fast.show("traced"), fast.show("graph")),
        "graph": lambda: text(without_leaves(first_update(fast.show("graph")))),
        "fused": lambda: text(fast.show("fused")),
        "schedule": lambda: text(fast.show("schedule")),
        "memory": lambda: text(fast.show("memory")),
        "llvm": lambda: code("llvm"),
        "asm": lambda: code("asm"),
        "profile": lambda: text(str(fast.profile(x, y))),
    }


def text(content: str) -> str:
    lines = "\n".join(line.rstrip() for line in content.expandtabs().strip().splitlines())
    return f"```text\n{lines}\n```\n"


def first_update(graph: str) -> str:
    """A graph without what follows on the first parameter's update, which is like it."""
    lines = graph.splitlines()
    update = next(i for i, line in enumerate(lines) if "= subtract(0.weight, " in line)
    end = next(i for i, line in enumerate(lines) if line.startswith("output 0"))
    left = f"… {end - update - 1} more: the same for 0.bias, 2.weight and 2.bias"
    return "\n".join([*lines[: update + 1], left, *lines[end:]])


def without_leaves(graph: str) -> str:
    """A graph without what stands in front of its operations."""
    lines = graph.splitlines()
    first = next(i for i, line in enumerate(lines) if re.match(r"%\d+ = \w+\(", line))
    return "\n".join([f"… {first} leaves, as above but for their numbers", *lines[first:]])


def operations(graph: str) -> Counter[str]:
    return Counter(re.findall(r"^%\d+ = (\w+)\(", graph, re.MULTILINE))


def simplified(before: str, after: str) -> str:
    """How many operations of each kind there were, and are."""
    old, new = operations(before), operations(after)
    gone = [f"{name} {n} → {new[name]}" for name, n in sorted(old.items()) if new[name] != n]
    return text(
        f"{old.total()} operations were traced, {new.total()} are left:\n" + ", ".join(gone)
    )


def processor() -> str:
    from chainrule.compile.machine import machine

    host, model = machine(), platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*: (.*)", info.read_text())):
        model = found[1]
    return (
        f"Made on: {model} (LLVM calls it {host.cpu}), vectors of {host.lanes} float32 numbers, "
        f"{host.threads} threads.\n"
    )


def fill(page: str, only: tuple[str, ...] | None = None) -> str:
    """The page with its forms made anew, or `only` some of them."""
    found = makers(run_step(page))

    def made(match: re.Match[str]) -> str:
        name = match[1]
        if only is not None and name not in only:
            return match[0]
        return f"<!-- made: {name} -->\n{found[name]()}<!-- end -->"

    return MADE.sub(made, page)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHAINRULE_CACHE"] = folder
        page = PAGE.read_text()
        PAGE.write_text(fill(page))
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
