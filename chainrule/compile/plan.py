"""What a program was compiled to, as plain data: all that running it needs beside its machine code.

A plan is kept on disk by the program's graph. A graph that is met again is only traced, loaded and
run: it is neither simplified nor lowered nor fused, and nothing is emitted.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from chainrule.compile import cache
from chainrule.compile.machine import machine
from chainrule.compile.program import Program, Scalar, Storage
from chainrule.tensor.generator import Stream
from chainrule.tensor.graph import Node

LARGEST = 16 << 20
"""Bytes of constants from which on a plan is not kept."""


class Step(NamedTuple):
    """One kernel of a program.

    Attributes:
        name: of its function; None where NumPy is called back.
        tasks: how many it has.
        commits: whether it writes to memory that outlives the call.
        args: what its arguments are: (kind, number, offset in bytes). The kinds are those of
            buffers, and "status", "streams" and "code", a number that tells what went wrong.
    """

    name: str | None
    tasks: int
    commits: bool
    args: list[tuple[str, int, int]]


class Plan(NamedTuple):
    """See above.

    Attributes:
        library: the key of the code.
        names: of its functions.
        arena, scratch: bytes between the kernels, and of each thread.
        steps: the kernels in the order in which they run.
        constants: the memory that arguments of that kind point to, by number.
    """

    library: str
    names: list[str]
    arena: int
    scratch: int
    steps: list[Step]
    constants: list[bytes]


def storages(program: Program) -> dict[int, np.ndarray]:
    """The arrays that a program reads and writes in place, by id; their order numbers them."""
    read = (source for _, source in program.inputs if isinstance(source, Storage))
    written = (storage for storage, _ in program.writes)
    return {id(s.array): s.array for s in (*read, *written)}


def recall(key: bytes | None) -> Plan | None:
    """The plan that is kept under a key, if there is one."""
    entry = None if key is None else cache.load(key)
    if entry is None:
        return None
    (library, names, arena, scratch, steps, sizes), room = entry
    ends = list(accumulate(sizes))
    constants = [room[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    return Plan(library, names, arena, scratch, [Step(*step) for step in steps], constants)


def keep(key: bytes | None, plan: Plan) -> None:
    """Have a plan recalled later, in other processes too."""
    back = any(step.name is None for step in plan.steps)  # to NumPy, for which the graph is needed
    sizes = [len(constant) for constant in plan.constants]
    if key is not None and not back and sum(sizes) <= LARGEST:
        facts = (plan.library, plan.names, plan.arena, plan.scratch, plan.steps, sizes)
        cache.store(key, b"".join(plan.constants), facts)


def key_of(program: Program) -> bytes | None:
    """The key of a program's plan: all that it depends on. None where that cannot be told."""
    try:
        rows = list(_rows(program))
    except _Untold:
        return None
    return cache.key(f"{machine()} {program.scalars} {program.streams} {rows}", machine())


class _Untold(Exception):  # noqa: N818 - it asks for another way, and tells of no mistake
    """What an attribute is cannot be told in a text."""


def _rows(program: Program) -> Iterator[tuple]:
    """Each node of a graph, what its leaves stand for, and what becomes of the results."""
    arrays = {key: number for number, key in enumerate(storages(program))}
    sources = {
        node: ("storage", arrays[id(source.array)])
        if isinstance(source, Storage)
        else ("scalar", source.index)
        if isinstance(source, Scalar)
        else ("input", number, getattr(source, "strides", None))
        for number, (node, source) in enumerate(program.inputs)
    }
    numbers: dict[Node | None, int | None] = {None: None}
    for node in program.nodes():
        numbers[node] = len(numbers)
        if node.op is not None:
            if not node.op.__module__.startswith("chainrule."):
                raise _Untold  # it may be declared in another way next time
            what: Any = (node.op.name, [numbers[n] for n in node.inputs], _told(node.attrs))
            what += ([type(s).__name__ for s in (node.saved or ())[: len(node.inputs)]],)
        elif node.value is None:
            what = sources[node]
        else:
            what = hashlib.sha256(node.value.tobytes()).hexdigest()
        yield what, node.shape, _name(node.dtype)
    yield (
        [numbers[node] for node in program.outputs],
        [(arrays[id(storage.array)], numbers[node]) for storage, node in program.writes],
    )


def _told(attribute: Any) -> Any:
    """An attribute whose `repr` tells all."""
    kind = type(attribute)
    if kind is tuple or kind is list:
        for part in attribute:
            _told(part)
    elif kind is dict:
        for part in attribute.values():
            _told(part)
    elif kind not in _PLAIN and not isinstance(attribute, (np.dtype, np.generic)):
        raise _Untold
    return attribute


_PLAIN = {type(None), bool, int, float, complex, str, slice, type(...), Stream}
_name = functools.cache(str)
