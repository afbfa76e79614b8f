"""Looking at what was compiled: its forms as text, and where its time goes."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.compile.notation import (
    WAYS,
    Names,
    equations,
    inside,
    kind,
    node_lines,
    place_of,
    title,
)
from chainrule.errors import CompileError

if TYPE_CHECKING:
    from chainrule.compile.executable import Executable
    from chainrule.compile.kernels import Kernel
    from chainrule.compile.lower import Item
    from chainrule.compile.program import Program
    from chainrule.compile.views import Buffer
    from chainrule.tensor.graph import Node

KINDS = ("traced", "graph", "fused", "schedule", "memory", "llvm", "asm")


def show(executable: Executable, kind: str = "graph", kernel: int | None = None) -> str:
    """One of the forms that a program went through, as text.

    Args:
        kind: "traced" (the nodes as they were recorded), "graph" (after simplification), "fused"
            (what each kernel computes), "schedule" (the kernels in order, with their choices),
            "memory" (the plan of the arena), "llvm" or "asm" (the code).
        kernel: of the code, that of this kernel alone; its number in the schedule.
    """
    if kind not in KINDS:
        raise CompileError(f"show() has {', '.join(map(repr, KINDS))}, not {kind!r}")
    if kind in ("llvm", "asm"):
        return _code(executable, kind, kernel)
    program = executable.program
    if kind == "traced":
        return "\n".join(_graph(program, program.nodes(), _results(program)))
    maker = {"graph": _simplified, "fused": _fused, "schedule": _schedule, "memory": _memory}[kind]
    return "\n".join(maker(executable))


def _names(executable: Executable) -> Names:
    return Names(executable.program, executable.compiled.nodes)


# The graph


def _results(program: Program) -> list[Node]:
    return [*program.outputs, *(node for _, node in program.writes)]


def _simplified(executable: Executable) -> Iterator[str]:
    compiled = executable.compiled
    yield from _graph(executable.program, compiled.nodes, compiled.results)


def _graph(program: Program, nodes: Sequence[Node], results: Sequence[Node]) -> Iterator[str]:
    names = Names(program, nodes)
    yield from node_lines(nodes, names)
    outputs = len(program.outputs)
    for number, node in enumerate(results[:outputs]):
        yield f"output {number} = {names.node(node)}"
    for (storage, _), node in zip(program.writes, results[outputs:], strict=True):
        yield f"{names.source(storage)} := {names.node(node)}"


# Kernels


def _fused(executable: Executable) -> Iterator[str]:
    names = _names(executable)
    numbers: dict[tuple[str, Any], list[int]] = {}
    for number, kernel in enumerate(executable.compiled.kernels):
        numbers.setdefault((kernel.label, tuple(kernel.items)), []).append(number)
    for (label, items), found in numbers.items():
        kernel = executable.compiled.kernels[found[0]]
        which = f"kernel {found[0]}" if len(found) == 1 else f"kernels {_listed(found)}"
        yield f"{which}: {_what(kernel, names)}{_loops(kernel)}"
        if label == "combine":
            yield f"    {_stored(items[0], names)} = what the tasks of the kernel before have"
        else:
            yield from _equations(items, names)


def _equations(items: Sequence[Item], names: Names) -> Iterator[str]:
    for item, text in equations(items, names):
        way = item.group.way.get(item) if item.root and item.name != "pick" else None
        left = f"    {_stored(item, names)} = {text}{f', {WAYS[way]}' if way else ''}"
        place = place_of(item.node)
        yield f"{left:<76}  # {place}" if place else left


def _stored(item: Item, names: Names) -> str:
    """An item's name, behind that of the memory where it is stored."""
    if not item.root or item.view is None:
        return names.item(item)
    return f"{names.buffer(item.view.buffer)} := {names.item(item)}"


def _listed(numbers: list[int]) -> str:
    few = numbers if len(numbers) <= 4 else [*numbers[:2], "…", numbers[-1]]
    return ", ".join(map(str, few))


def _what(kernel: Kernel, names: Names) -> str:
    """A kernel's title; one that adds up what the tasks of the one before it have is named so."""
    what = title(kernel.items, names)
    return f"combine {what}" if kernel.label == "combine" else what


def _how(kernel: Kernel, names: Names) -> str:
    plain = kernel.label in ("nest", "combine", title(kernel.items, names))
    return "" if plain else f"  [{kernel.label}]"


def _loops(kernel: Kernel) -> str:
    """What a loop nest runs over."""
    group = kernel.items[0].group
    if group.head is not None or kernel.label == "combine":
        return ""
    if group.inner is None:
        return f", {_times(group.domain)} elements" if group.wide else ""
    rows = [n for a, n in enumerate(group.domain) if a in group.outer]
    inner = [n for a, n in enumerate(group.domain) if a in group.inner]
    return f", {_times(rows)} rows of {_times(inner)}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _times(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes)) or "1"


def _schedule(executable: Executable) -> Iterator[str]:
    names, compiled, plan = _names(executable), executable.compiled, executable.plan
    kernels = _counted(len(compiled.kernels), "kernel")
    functions = _counted(len(compiled.names), "function")
    yield (
        f"{kernels}, {functions}; "
        f"arena {plan.arena:,} bytes, {plan.scratch:,} of scratch memory for each thread"
    )
    yield f"{'':>4} {'code':>5} {'tasks':>5} {'Mflop':>9} {'kB':>9}  what, and [how]"
    for number, kernel in enumerate(compiled.kernels):
        code = kernel.code
        yield (
            f"{number:>4} {compiled.names.get(code.key, 'host'):>5} {code.tasks:>5} "
            f"{code.flops / 1e6:9.3f} {code.bytes / 1e3:9.1f}  {_what(kernel, names)}"
            f"{_loops(kernel)}{_how(kernel, names)}"
        )


# Memory

_WIDEST = 64  # kernels that are drawn side by side


def _memory(executable: Executable) -> Iterator[str]:
    names, kernels = _names(executable), executable.compiled.kernels
    spans: dict[Buffer, list[int]] = {}
    values: dict[Buffer, str] = {}
    for time, kernel in enumerate(kernels):
        for buffer in (*kernel.reads, *kernel.writes):
            if buffer.kind == "arena":
                spans.setdefault(buffer, [time, time])[1] = time
        for item in kernel.items:
            if item.view is not None:
                values.setdefault(item.view.buffer, f"{names.item(item)} {kind(item)}")
    total = sum(buffer.nbytes for buffer in spans)
    yield f"arena: {executable.plan.arena:,} bytes for values of {total:,} bytes together"
    drawn = len(kernels) <= _WIDEST
    ruler = "".join(str(n % 10) for n in range(len(kernels))) if drawn else "kernels"
    yield f"{'from':>12} {'bytes':>12}  {ruler}"
    for buffer, (start, stop) in sorted(spans.items(), key=lambda item: item[0].offset):
        bar = f"{'·' * start}{'█' * (stop - start + 1)}{'·' * (len(kernels) - stop - 1)}"
        alive = bar if drawn else f"{start} … {stop}"
        what = values.get(buffer, "working memory")
        yield f"{buffer.offset:>12,} {buffer.nbytes:>12,}  {alive}  {what}"


# Code


def _code(executable: Executable, kind: str, number: int | None) -> str:
    library, compiled = executable.library, executable.compiled
    if library is None:
        return ""
    text = library.llvm() if kind == "llvm" else library.assembly()
    if number is None:
        return text
    if not 0 <= number < len(compiled.kernels):
        raise CompileError(f"there are the kernels 0 to {len(compiled.kernels) - 1}, not {number}")
    name = compiled.names.get(compiled.kernels[number].code.key)
    if name is None:
        return ""  # NumPy's own
    part = (
        rf"^define [^\n]*@{name}\(.*?^}}$"
        if kind == "llvm"
        else rf"^_?{name}:\n.*?(?=^\.?Lfunc_end)"
    )
    found = re.search(part, text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[0]


# Time


@dataclass
class KernelTime:
    """What one kernel costs.

    Attributes:
        label: what it does.
        seconds: the median over the runs.
        flops, bytes: what it computes, reads and writes.
        share: of what this machine could do at best, by operations or by bytes.
        places: the user's lines that it comes from: "step.py:9 (encoder.0)".
    """

    label: str
    seconds: float
    flops: int
    bytes: int
    share: float
    places: list[str] = field(default_factory=list)


@dataclass
class Profile:
    """Where a call's time goes, kernel by kernel.

    `str()` is a table, the slowest first; `save("x.json")` writes a trace that Chrome's
    about:tracing and Perfetto (ui.perfetto.dev) open.
    """

    name: str
    kernels: list[KernelTime]

    @property
    def seconds(self) -> float:
        return sum(kernel.seconds for kernel in self.kernels)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {"name": self.name, "seconds": self.seconds,
                "kernels": [vars(kernel) for kernel in self.kernels]}  # fmt: skip

    def __str__(self) -> str:
        total = self.seconds or 1.0
        lines = [
            f"{self.name}: {total * 1e3:.4g} ms in {len(self.kernels)} kernels",
            f"{'µs':>10} {'of all':>7} {'GFLOP/s':>8} {'GB/s':>7} {'of peak':>7}  kernel",
        ]
        for kernel in sorted(self.kernels, key=lambda k: -k.seconds):
            seconds = max(kernel.seconds, 1e-9)
            lines.append(
                f"{kernel.seconds * 1e6:10.1f} {kernel.seconds / total:7.1%} "
                f"{kernel.flops / seconds / 1e9:8.1f} {kernel.bytes / seconds / 1e9:7.1f} "
                f"{kernel.share:7.1%}  {kernel.label}  {', '.join(kernel.places[:3])}"
            )
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace as JSON for Chrome's or Perfetto's viewer."""
        events, now = [], 0.0
        for kernel in self.kernels:
            events.append({
                "name": kernel.label, "ph": "X", "pid": 1, "tid": 1, "ts": now,
                "dur": kernel.seconds * 1e6,
                "args": {"flops": kernel.flops, "bytes": kernel.bytes, "of peak": kernel.share,
                         "places": kernel.places},
            })  # fmt: skip
            now += kernel.seconds * 1e6
        Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}))


RUNS = 9


def profile(executable: Executable, times: np.ndarray) -> Profile:
    """The profile from times of shape (runs, kernels) in seconds."""
    from chainrule.compile.peaks import peaks

    found, best, names = [], peaks(), _names(executable)
    for kernel, seconds in zip(executable.compiled.kernels, np.median(times, 0), strict=True):
        code = kernel.code
        least = max(code.flops / best.flops, code.bytes / best.bandwidth)
        share = min(1.0, least / seconds) if seconds > 0 else math.nan
        label = _what(kernel, names)
        found.append(
            KernelTime(label, float(seconds), code.flops, code.bytes, share, places(kernel))
        )
    return Profile(executable.program.name, found)


def places(kernel: Kernel) -> list[str]:
    """The user's lines that a kernel's items come from."""
    found = dict.fromkeys(place_of(item.node) for item in inside(kernel.items))
    return [place for place in found if place]
