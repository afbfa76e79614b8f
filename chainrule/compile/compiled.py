"""`compile`: a function that is traced once for each kind of arguments, and then runs natively.

A call looks its specialisation up by the shapes and dtypes of the tensors among the arguments and
by the value of everything else, checks the guards, and runs. What has no value of its own in the
arguments is compared only when `graph.epoch` says that something changed at all.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from chainrule.compile.derivative import Derivative
from chainrule.compile.guards import frozen
from chainrule.compile.program import Argument, Captured, Program, Storage
from chainrule.compile.trace import Traced, trace
from chainrule.errors import CompileError
from chainrule.tensor import debug, graph
from chainrule.tensor.cell import Cell
from chainrule.tensor.creation import asarray
from chainrule.tensor.graph import FULL, OFF, state
from chainrule.tensor.tensor import Tensor
from chainrule.tree import flatten

SPECIALISATIONS = 64
"""How many are kept for one function; the one that was made or found longest ago goes first."""

Backend = Callable[[Program], Any]

_tracing = threading.RLock()


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage inside: compiling makes many objects that all stay for a while."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def compile(function: Any = None, *, backend: Backend | None = None) -> Any:
    """A function that does what `function` does, as one native call.

    The first call with arguments of a kind traces the function: it runs once on tensors without
    values, and what it does to them is compiled: the forward pass, `backward()`, the optimiser's
    step, what is written into parameters and buffers, the random numbers that it draws. Later calls
    only check that nothing changed that the function could have looked at, and run.

    Arguments may be nested dicts, lists and tuples. Tensors and NumPy arrays among them are
    specialised on by shape and dtype, everything else by its value: a Python number that changes
    from call to call is handed over as a tensor instead. Parameters, buffers and tensors that the
    function names are found by use, and their values are read at each call; so are learning rates
    and the other numbers of optimisers. Python numbers and NumPy arrays that it names are taken as
    constants. Prints and other effects of the Python code happen at the first call alone.

    Works as a decorator, on methods, and on modules.

    Args:
        function: a function of tensors.
        backend: what makes an executable of a `Program`; machine code if left out.

    Raises:
        CompileError: at a call, where Python code depends on the value of a tensor.

    >>> import chainrule as cr
    >>> double = cr.compile(lambda x: x * 2)
    >>> double(cr.asarray([1.0, 2.0]))
    tensor([2., 4.])
    """
    if function is None:
        return functools.partial(compile, backend=backend)
    if isinstance(function, Compiled):
        return function
    if not callable(function):
        raise CompileError(f"a function or a module is compiled, not {type(function).__name__}")
    return Compiled(function, backend)


def _native(program: Program) -> Any:
    from chainrule.compile.executable import executable

    return executable(program)


class Compiled:
    """A compiled function. See `compile`.

    Attributes:
        traces: how often the function was traced.
    """

    def __init__(self, function: Callable[..., Any], backend: Backend | None = None) -> None:
        functools.update_wrapper(self, function, updated=())
        self.__wrapped__ = function
        self.name = getattr(function, "__name__", type(function).__name__)
        self.traces = 0
        self._backend = backend or _native
        self._found: dict[Any, list[Specialisation]] = {}
        self._last: Specialisation | None = None

    def __repr__(self) -> str:
        return f"<compiled {self.name}, traced {self.traces} times>"

    def __getattr__(self, name: str) -> Any:
        """What the function, or the module, has: `compiled.eval()`, `compiled.parameters()`."""
        if name == "__wrapped__":
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        """The copy is traced anew: what it is made of is copied, too."""
        made = memo[id(self)] = Compiled(copy.deepcopy(self.__wrapped__, memo), self._backend)
        return made

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method: compiled for each instance by itself, since `self` is an argument."""
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if debug.watchers:
            debug.watched("entering", self)
        if state.tracer is not None or state.depth == FULL or debug.step_by_step:
            return self.__wrapped__(*args, **kwargs)
        key: list[Any] = [state.depth == OFF]
        tensors: list[Tensor] = []
        for arg in args:
            if type(arg) is not Tensor:
                break
            value = arg._value
            if value is None:
                return self.__wrapped__(*args, **kwargs)
            key += (value.shape, value.dtype, arg._node is not None and arg._node.needs_grad)
            tensors.append(arg)
        else:
            if not kwargs:
                found = self._find(tuple(key), tensors, args, kwargs)
                return self._run(found, tensors, args, kwargs)
        described, tensors = _describe(args, kwargs)
        if any(t._value is None for t in tensors):
            return self.__wrapped__(*args, **kwargs)
        key = [state.depth == OFF, *described]
        return self._run(self._find(tuple(key), tensors, args, kwargs), tensors, args, kwargs)

    def _run(self, found: Specialisation, tensors: list[Tensor], args: tuple, kwargs: dict) -> Any:
        if not debug.watchers:
            return found.run(tensors)
        debug.watched("running", self, found.traced, args, kwargs)
        result = found.run(tensors)
        debug.watched("ran", found.traced, tensors, result)
        return result

    def _find(self, key: tuple, tensors: list[Tensor], args: tuple, kwargs: dict) -> Specialisation:
        """The specialisation for a call: the one that served last if its guards hold."""
        candidates = self._found.get(key)
        if candidates is not None:
            found = candidates[0]
            if found.epoch == graph.epoch and found.watched.now():
                self._last = found
                return found
        return self._specialise(key, tensors, args, kwargs)

    def _specialise(
        self, key: tuple, tensors: list[Tensor], args: tuple, kwargs: dict
    ) -> Specialisation:
        """One that holds now: found, or made."""
        with _tracing, _uncollected():
            candidates = self._found.pop(key, [])
            epoch = graph.epoch
            for i, found in enumerate(candidates):
                if found.watched.now() and found.watched.holds():
                    candidates.insert(0, candidates.pop(i))
                    break
            else:
                found = self._trace(tensors, args, kwargs)
                epoch = graph.epoch
                candidates.insert(0, found)
            found.epoch = epoch
            self._found[key] = candidates
            self._last = found
            self._drop()
            return found

    def _drop(self) -> None:
        while sum(map(len, self._found.values())) > SPECIALISATIONS:
            oldest = next(iter(self._found))
            self._found[oldest].pop()
            if not self._found[oldest]:
                del self._found[oldest]

    def _trace(self, tensors: list[Tensor], args: tuple, kwargs: dict) -> Specialisation:
        leaves, rebuild = flatten([list(args), kwargs])
        positions = [i for i, leaf in enumerate(leaves) if _is_tensor(leaf)]

        def call(stand_ins: list[Tensor]) -> tuple[tuple, dict]:
            filled = list(leaves)
            for i, stand_in in zip(positions, stand_ins, strict=True):
                filled[i] = stand_in
            positional, keywords = rebuild(filled)
            return tuple(positional), keywords

        kept = [leaf for leaf in leaves if not _is_tensor(leaf)]  # so that no id is used again
        traced = trace(self.__wrapped__, self.name, call, tensors, kept)
        self.traces += 1
        return Specialisation(traced, self._backend, kept)

    # Seeing it

    def _latest(self) -> Any:
        if self._last is None:
            raise CompileError(f"`{self.name}` is compiled when it is first called; call it before")
        return self._last

    def show(self, kind: str = "graph", kernel: int | None = None) -> str:
        """What the specialisation that ran last was compiled to, as text.

        Args:
            kind: "traced", "graph", "fused", "schedule", "memory", "llvm" or "asm".
            kernel: of "llvm" and "asm", this kernel's code alone.
        """
        executable = self._latest().executable
        return executable.show(kind) if kernel is None else executable.show(kind, kernel)

    def profile(self, *args: Any, **kwargs: Any) -> Any:
        """Time, operations and bytes of each kernel, for these arguments; one call is made."""
        key, tensors = _describe(args, kwargs)
        found = self._find((state.depth == OFF, *key), tensors, args, kwargs)
        call = found.inputs(tensors)
        profile = found.executable.profile(*call)
        found.run(tensors, call)
        return profile


def _is_tensor(leaf: Any) -> bool:
    return (isinstance(leaf, Tensor) and not isinstance(leaf, Cell)) or isinstance(leaf, np.ndarray)


def _describe(args: tuple, kwargs: dict) -> tuple[tuple, list[Tensor]]:
    """(what calls have in common that one program serves, the tensors among the arguments)."""
    key: list[Any] = []
    tensors: list[Tensor] = []

    def visit(part: Any) -> None:
        if isinstance(part, dict):
            key.append((dict, *part))
            for value in part.values():
                visit(value)
        elif isinstance(part, (list, tuple)):
            key.append((type(part), len(part)))
            for value in part:
                visit(value)
        elif _is_tensor(part):
            tensor = part if isinstance(part, Tensor) else asarray(part, copy=False)
            tensors.append(tensor)
            key.extend((tensor.shape, tensor.dtype, tensor.requires_grad))
        else:
            key.append(frozen(part))

    for arg in args:
        visit(arg)
    if kwargs:
        visit(kwargs)
    return tuple(key), tensors


class Specialisation:
    """A traced function, and how one call of it goes.

    Attributes:
        epoch: `graph.epoch` when all its guards were last seen to hold.
        watched: the guards.
    """

    def __init__(self, traced: Traced, backend: Backend, kept: list[Any]) -> None:
        self.traced, self.kept = traced, kept
        self.program = traced.program
        self.executable = backend(traced.program)
        self.watched = traced.watched
        self.epoch = -1
        sources = [source for _, source in self.program.inputs]
        self._positions = [s.position for s in sources if isinstance(s, Argument)]
        self._captured = [s for s in sources if isinstance(s, Captured)]
        self._plain = self._positions == list(range(len(self._positions)))
        self._single = len(traced.results) == 1 and traced.rebuild([self]) is self
        self._leaves_state = bool(
            traced.given or traced.cleared or traced.accumulated or traced.replaced or traced.final
        )
        self._derivative = Derivative(traced, backend) if traced.derivable else None

    def inputs(self, tensors: Sequence[Tensor]) -> tuple[list, list[float], list]:
        """(arrays, scalars, streams) of a call, for which the host's part is done."""
        traced = self.traced
        arrays = [
            t._value if t._base is None else t._value.copy()  # type: ignore[union-attr]
            for t in (tensors if self._plain else [tensors[i] for i in self._positions])
        ]
        if self._plain:
            del arrays[len(self._positions) :]
        for source in self._captured:
            arrays.append(source.tensor()._value)  # type: ignore[union-attr]
        scalars: list[float] = []
        for effect in traced.effects:
            effect(scalars)
        streams = []
        for generator, blocks in traced.draws:
            with generator._lock:
                counter = generator._counter
                generator._counter += blocks
                first, second = generator._key
            streams.append((first | second << 32, counter))
        return arrays, scalars, streams

    def run(self, tensors: Sequence[Tensor], call: Any = None) -> Any:
        """Do what the function does; `call` is what `inputs` gave, if the host's part is done."""
        traced = self.traced
        arrays, scalars, streams = call or self.inputs(tensors)
        derivative = self._derivative
        record = derivative.begin(tensors) if derivative is not None else None
        for cell in traced.written:
            if cell.live_views:
                cell.part()
            else:
                cell.version += 1
        try:
            values = self.executable.run(arrays, scalars, streams)
        except BaseException:
            for revert in reversed(traced.reverts):
                revert()
            raise
        if self._leaves_state:
            self._leave(values, tensors)
        if derivative is not None:
            made = derivative.results(values, record, arrays, scalars, streams)
        elif self._single and traced.results[0] == 0:
            return Tensor(values[0])
        else:
            made = [Tensor(value) for value in values]
        leaves = [r[0] if type(r) is tuple else made[r] for r in traced.results]
        return leaves[0] if self._single else traced.rebuild(leaves)

    def _leave(self, values: Sequence[np.ndarray], tensors: Sequence[Tensor]) -> None:
        """Gradients, tensors that were updated in place, and counts."""
        traced = self.traced
        for reference, number in traced.given:
            tensor = reference()
            if tensor is not None:
                tensor._grad = Tensor(values[number])
        for reference in traced.cleared:
            tensor = reference()
            if tensor is not None:
                tensor._grad = None
        for position, number in traced.accumulated:
            tensor, gradient = tensors[position], Tensor(values[number])
            tensor._grad = gradient if tensor._grad is None else tensor._grad + gradient
        for where, number in traced.replaced:
            tensor = tensors[where] if isinstance(where, int) else where()
            tensor._value, tensor._node, tensor._base = values[number], None, None
        for holder, attribute, value in traced.final:
            setattr(holder, attribute, value)
        if traced.given or traced.cleared or traced.accumulated or traced.final:
            graph.changed()


__all__ = ["Compiled", "Storage", "compile"]
