"""Tracing: a function runs once on tensors without values, and its operations are recorded.

What the function reads from outside (parameters, buffers, tensors, gradients, optimisers' state,
generators) becomes an input of the recorded program when it is first used, and what it writes there
becomes a write of the program, so that nothing that can change is taken for a constant. Everything
that Python itself could have looked at is noted as a guard. When the trace ends, the world is as it
was before.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.compile.guards import Name, Watched, attributes_of, is_module, reached
from chainrule.compile.program import Argument, Captured, Gradient, Program, Scalar, Source, Storage
from chainrule.compile.tracer import Effect, Entry, Tracer
from chainrule.errors import CompileError
from chainrule.tensor.cell import Cell
from chainrule.tensor.generator import Generator, Stream
from chainrule.tensor.graph import Node, ancestors, state
from chainrule.tensor.tensor import Tensor, node_of
from chainrule.tree import flatten


@dataclass
class Traced:
    """A function that was traced.

    Attributes:
        program: its graph; the gradients that it leaves are the last outputs.
        rebuild: puts results into the structure that the function returned.
        results: for each leaf of the structure an output's number, or the object itself in a tuple.
        derivable: for each result that is an output, its node if a derivative flows through.
        effects: what the host does before each call, in order; each adds its numbers to a list.
        reverts: undoes each of the effects.
        draws: (generator, how many blocks of it are used) for each stream.
        written: the cells that are written.
        given: (reference to a tensor, output that becomes its gradient).
        cleared: references to tensors that have no gradient afterwards.
        accumulated: (argument, output to add to its gradient).
        replaced: (argument, or reference to a tensor; output that becomes its value).
        final: (object, attribute, value) to set after each call.
        watched: what has to be as it was.
        tensors: leaf of the program → a reference to the tensor outside that it stands for.
    """

    program: Program
    rebuild: Callable[[list[Any]], Any]
    results: list[Any]
    derivable: dict[int, Node]
    effects: list[Effect]
    reverts: list[Callable[[], None]]
    draws: list[tuple[Generator, int]]
    written: list[Cell]
    given: list[tuple[Callable[[], Any], int]]
    cleared: list[Callable[[], Any]]
    accumulated: list[tuple[int, int]]
    replaced: list[tuple[Any, int]]
    final: list[tuple[Any, str, Any]]
    watched: Watched
    tensors: dict[Node, Callable[[], Any]]


def trace(
    function: Callable[..., Any],
    name: str,
    call: Callable[[list[Tensor]], tuple[tuple, dict]],
    arguments: Sequence[Tensor],
    others: Sequence[Any],
) -> Traced:
    """Run a function on traced tensors in place of `arguments`.

    Args:
        call: (args, kwargs) of the function from its tensors.
        others: what else is among the arguments.
    """
    tracer = Tracer(name)
    stand_ins = [_stand_in(a) for a in arguments]
    leaves = [node_of(s) for s in stand_ins]
    args, kwargs = call(stand_ins)
    names = _parameters(function, args, kwargs)
    sources = {
        leaf: Argument(i, names.get(id(stand_in), "argument"))
        for i, (leaf, stand_in) in enumerate(zip(leaves, stand_ins, strict=True))
    }
    before = state.tracer
    state.tracer = tracer
    try:
        # The result is not held here: a tensor that nobody holds when all is over was made inside,
        # and is a constant.
        results = _results(tracer, function(*args, **kwargs))
        for other in filter(is_module, others):
            tracer.saw(other)
        traced = _finish(tracer, function, results, stand_ins, sources)
    except BaseException:
        tracer.restore(failed=True)
        raise
    finally:
        state.tracer = before
    return traced


def _stand_in(argument: Tensor) -> Tensor:
    value = argument._value
    assert value is not None
    stand_in = Tensor(None, Node(None, (), {}, value.shape, value.dtype, argument.requires_grad))
    if argument.requires_grad:
        stand_in._node.owner = weakref.ref(stand_in)  # type: ignore[union-attr]
    return stand_in


def _results(tracer: Tracer, result: Any) -> tuple[list[Node], list[Any], Callable[..., Any]]:
    """(output nodes, the number of an output or (object,) for each leaf, how to put them back)."""
    leaves, rebuild = flatten(result)
    outputs: list[Node] = []
    results: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            results.append(len(outputs))
            outputs.append(node_of(tracer.lift(leaf)))
        else:
            results.append((leaf,))
    return outputs, results, rebuild


def _finish(
    tracer: Tracer,
    function: Callable[..., Any],
    found: tuple[list[Node], list[Any], Callable[..., Any]],
    stand_ins: list[Tensor],
    arguments: dict[Node, Argument],
) -> Traced:
    outputs, results, rebuild = found
    leaves = list(arguments)
    # After backward() has passed, no second one is possible, and none is offered.
    derivable = {
        i: node
        for i, node in enumerate(outputs)
        if node.needs_grad and (node.op is None or node.saved is not None) and _from_outside(node)
    }
    given, cleared = tracer.gradients()
    numbered = [(reference, len(outputs) + i) for i, (reference, _) in enumerate(given)]
    outputs += [node for _, node in given]
    accumulated = []
    for i, stand_in in enumerate(stand_ins):
        if stand_in._grad is not None:
            accumulated.append((i, len(outputs)))
            outputs.append(node_of(tracer.lift(stand_in._grad)))
    replaced: list[tuple[Any, int]] = []
    updated = [(i, node_of(s)) for i, s in enumerate(stand_ins) if s._node is not leaves[i]]
    for where, node in [*updated, *tracer.replaced()]:
        if node.owner is not None:  # it was only given requires_grad
            continue
        if node.needs_grad:
            raise CompileError(
                f"`{tracer.name}` updates a tensor of shape {node.shape} from outside in place, "
                "and a derivative flows through what it becomes. Return the new value instead."
            )
        replaced.append((where, len(outputs)))
        outputs.append(node)
    final = [
        (holder, attribute, getattr(holder, attribute), before)
        for (_, attribute), (holder, before) in tracer.remembered.items()
    ]
    tracer.restore(failed=False)
    names, modules = reached(function)
    called = _called([*tracer.modules.values(), *modules], names)
    program, tensors, captured = _program(tracer, outputs, arguments, called)
    cells = [e for e in tracer.entries.values() if isinstance(e.reference(), Cell)]
    return Traced(
        program,
        rebuild,
        results,
        derivable,
        tracer.effects,
        tracer.reverts,
        _streams(tracer, program),
        [e.reference() for e in cells if e.current._node is not e.node],
        numbered,
        cleared,
        accumulated,
        replaced,
        [(holder, name, after) for holder, name, after, before in final if after != before],
        Watched(
            [(e.reference(), e.array, e.node.needs_grad, e.gradient is None) for e in cells],
            [
                (e.reference, e.node.shape, e.node.dtype, e.node.needs_grad, e.gradient is None)
                for e in captured
            ],
            [(reference, value) for reference, value in tracer.read if reference() is not None],
            attributes_of([*modules, *tracer.modules.values()]),
            names,
            [(holder, name, before) for holder, name, _, before in final],
            tracer.guards,
        ),
        tensors,
    )


def _from_outside(node: Node) -> bool:
    """Whether a derivative flows to a leaf, and not only to what a transform inside made."""
    return any(n.op is None or n.owner is not None for n in ancestors([node]))


def _parameters(function: Any, args: tuple, kwargs: dict[str, Any]) -> dict[int, str]:
    """What the function calls its arguments, by their ids."""
    function = getattr(function, "forward", function)
    code = getattr(function, "__code__", None)
    names = () if code is None else code.co_varnames[: code.co_argcount]
    names = names[1:] if hasattr(function, "__self__") else names
    found = {id(arg): name for name, arg in zip(names, args, strict=False)}
    return found | {id(arg): name for name, arg in kwargs.items()}


def _called(modules: list[Any], names: list[Name]) -> dict[int, str]:
    """What tensors from outside are called by modules, the first one first, or else by the
    function; by their ids."""
    found: dict[int, str] = {}
    for module in modules:
        for named in (module.named_parameters(), module.named_buffers()):
            for name, cell in named:
                found.setdefault(id(cell), name)
    for _, key, thing in names:
        if isinstance(key, str):
            found.setdefault(id(thing), key)
    return found


def _program(
    tracer: Tracer, outputs: list[Node], arguments: dict[Node, Argument], called: dict[int, str]
) -> tuple[Program, dict[Node, Callable[[], Any]], list[Entry]]:
    """The program, the tensors behind its leaves, and what of them is no cell."""
    writes: list[tuple[Storage, Node]] = []
    sources: dict[Node, Source] = {**arguments}
    tensors: dict[Node, Callable[[], Any]] = {}
    captured = []
    for entry in tracer.entries.values():
        tensor = entry.reference()
        if isinstance(tensor, Cell):
            storage = Storage(entry.array, called.get(id(tensor), "cell"))
            source: Source = storage
            _write(writes, storage, entry)
        elif tensor is not None:
            captured.append(entry)
            name = called.get(id(tensor), "outside")
            source = Captured(entry.reference, name)  # type: ignore[arg-type]
        else:
            entry.node.value = np.array(entry.array)
            continue
        sources[entry.node] = source
        tensors[entry.node] = entry.reference
        if entry.gradient_node is not None:
            name = f"{called.get(id(tensor), 'outside')}.grad"
            sources[entry.gradient_node] = Gradient(weakref.ref(tensor), name)
    for entry, cell, name in tracer.variables.values():
        storage = Storage(entry.array, f"{called.get(id(cell), 'cell')}.{name}")
        _write(writes, storage, entry)
        sources[entry.node] = storage
    for (index, _), scalar in tracer.scalars.items():
        sources[scalar._node] = Scalar(index)  # type: ignore[index]
    program = Program([], outputs, writes, tracer.count, len(tracer.draws), tracer.name)
    used = [n for n in program.nodes() if n.op is None]
    needed = set(used)
    program.inputs = [(n, sources[n]) for n in arguments if n in needed]
    program.inputs += [(n, sources[n]) for n in used if n in sources and n not in arguments]
    unknown = [n for n in used if n not in sources and n.value is None]
    if unknown:
        raise CompileError(
            f"`{tracer.name}` uses a tensor of shape {unknown[0].shape} that was left over from "
            "another function that was being compiled. Return tensors from functions; do not store "
            "them anywhere else."
        )
    return program, tensors, captured


def _write(writes: list[tuple[Storage, Node]], storage: Storage, entry: Entry) -> None:
    if entry.current._node is not entry.node:
        writes.append((storage, entry.current._node))  # type: ignore[arg-type]


def _streams(tracer: Tracer, program: Program) -> list[tuple[Generator, int]]:
    """(generator, blocks) of each stream; one that was made inside begins anew at each call."""
    streams: list[Any] = [(d.reference(), d.blocks) for d in tracer.draws]
    for node in program.nodes():
        key = node.attrs.get("key")
        if isinstance(key, Stream) and streams[key.index][0] is None:
            draws = tracer.draws[key.index]
            node.attrs = {
                **node.attrs, "key": draws.key, "counter": node.attrs["counter"] + draws.counter
            }  # fmt: skip
    return [s if s[0] is not None else (Generator(), 0) for s in streams]
