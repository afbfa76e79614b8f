"""What an operation is: one object that holds every part of its declaration, and runs it.

Running computes the value on NumPy arrays and, to the depth that is being recorded, leaves a node.
`pull` takes a cotangent back through a node (reverse mode), `push` a tangent forward. Both are
written in operations, so that they can be differentiated, traced, printed and explained themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from chainrule.errors import ChainruleError, DTypeError, GradientError, ShapeError
from chainrule.ops.batching import Rule, one_by_one
from chainrule.places import show, user_place
from chainrule.tensor import debug, dtypes
from chainrule.tensor.cell import Cell
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import FULL, OFF, Node, constant, describe_only, recording, state
from chainrule.tensor.locate import FOREIGN, about_steps, bare, fail, ours, tell_of
from chainrule.tensor.tensor import Tensor, node_of, share

registry: dict[str, Operation] = {}
"""Every declared operation by name."""

_FLOATING = "fcV"  # V: bfloat16, as NumPy sees it

Operand = Any  # Tensor, a Python number beside one, or None for an operand left out


class Operation:
    """One operation of the vocabulary. Made by the constructors in `chainrule.ops.declare`.

    Attributes:
        name: the Array API's name where the standard has one.
        formula: its mathematics in the index notation of `chainrule.ops.notation`.
        shape: (*operands, **attrs) -> (shape, dtype), which fails with the message a person needs.
        forward: (*arrays, **attrs) -> array, the reference meaning.
        lower: how the compiler emits it: an instruction of the kernel builder, or a kernel's name.
        operations: (output, *operands, **attrs) -> how many floating-point operations it costs.
        samples: () -> list of (operands, keywords) that the suite tests it on.
        source: where the formula or its derivative is from, if not from a school book.
        display_only: the formula is shown and not evaluated; `property` names the check instead.
        batching: how it runs on many examples at once (see `chainrule.ops.batching`).
    """

    differentiable = True
    is_view = False
    checks_values = False  # it refuses some indices, which no derivative of it does
    checks_shapes_first = True
    definition: Callable[..., Tensor] | None = None
    choice: Callable[..., Tensor] | None = None
    add_cotangent: Callable[..., None] | None = None
    """(array, g, **attrs) of an operation that reads part of its only operand: adds the cotangent
    of the operand to an array, in place. Its other parts need not be written for each."""
    kind = "operation"

    def __init__(
        self,
        name: str,
        *,
        formula: str,
        forward: Callable[..., Any] | None = None,
        shape: Callable[..., tuple[tuple[int, ...], np.dtype]] | None = None,
        arguments: Callable[..., tuple[tuple, dict]] | None = None,
        lower: Any = None,
        operations: Callable[..., int] | None = None,
        samples: Callable[[], list] | None = None,
        method: str | None = None,
        operator: str | None = None,
        formula_view: Callable[..., Any] | None = None,
        display_only: bool = False,
        batch: Rule | None = None,
        doc: str | None = None,
        source: str | None = None,
    ) -> None:
        self.name = self.__name__ = name
        self.formula_text = formula
        if forward is not None:
            self.forward = forward  # type: ignore[method-assign]
        if shape is not None:
            self.shape = shape  # type: ignore[method-assign]
        if arguments is not None:
            self.arguments = arguments  # type: ignore[method-assign]
        self.lower = lower
        self.samples = samples
        self._operations = operations
        self.method = method
        self.operator = operator
        self.formula_view = formula_view
        self.display_only = display_only
        self.batching = batch
        self.source = source
        self.__doc__ = doc
        self._saves: dict[Any, tuple[bool, ...]] = {}
        self.natives: dict[Any, Any] = {}  # see chainrule.ops.native
        place = user_place()
        self.__module__ = self._declared_in()
        if name in registry and registry[name].__module__ != self.__module__:
            raise ChainruleError(
                f"there is an operation `{name}` already (in {registry[name].__module__}); "
                f"the one declared at {show(place) or self.__module__} needs another name"
            )
        registry[name] = self

    def _declared_in(self) -> str:
        import sys

        frame = sys._getframe(1)
        from chainrule.ops import MACHINERY

        mine = {f"chainrule.ops.{name}" for name in MACHINERY}
        while frame.f_back is not None and frame.f_globals.get("__name__") in mine:
            frame = frame.f_back
        return str(frame.f_globals.get("__name__"))

    @cached_property
    def formula(self) -> Any:
        """The parsed formula."""
        from chainrule.ops.notation import parse

        return parse(self.formula_text, display_only=self.display_only)

    @cached_property
    def operand_names(self) -> tuple[str, ...]:
        """What the declaration calls its operands: its positional-only parameters."""
        import inspect

        only = inspect.Parameter.POSITIONAL_ONLY
        return tuple(p.name for p in inspect.signature(self).parameters.values() if p.kind is only)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}: {self.formula_text}>"

    # Running

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        try:
            inputs, attrs = self.arguments(*args, **kwargs)
        except (ChainruleError, *FOREIGN) as error:
            self.fail(error, *args, **kwargs)
        return self.apply(inputs, attrs)

    def arguments(self, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        """(operands, normalised attributes) from what the user wrote."""
        raise NotImplementedError

    def shape(self, *inputs: Operand, **attrs: Any) -> tuple[tuple[int, ...], np.dtype]:
        raise NotImplementedError

    def forward(self, *values: Any, **attrs: Any) -> Any:
        raise NotImplementedError

    def run(self, values: Sequence[Any], attrs: dict[str, Any]) -> tuple[np.ndarray, Any]:
        """(output, what the kernel leaves for its derivative) on NumPy arrays."""
        return self.forward(*values, **attrs), None

    def apply(self, inputs: Sequence[Operand], attrs: dict[str, Any]) -> Tensor:
        """Run on operands, and record as deeply as the state says."""
        if state.tracer is not None:
            return self._trace_for(state.tracer, inputs, attrs)
        values: list[Any] = []
        nodes: list[Node | None] = []
        needs = traced = False
        for operand in inputs:
            if isinstance(operand, Tensor):
                value, node = operand._value, operand._node
                values.append(value)
                if value is None:
                    traced = True
                if node is not None and node.needs_grad:
                    needs = True
                    nodes.append(node)
                    continue
            else:
                values.append(operand)
            nodes.append(None)
        try:
            if traced:
                return self._trace(inputs, attrs)
            if self.checks_shapes_first:
                self.shape(*inputs, **attrs)
            if debug.observers:
                value, residual = debug.run(self, values, attrs)
            elif state.quiet:
                value, residual = self.run(values, attrs)
            else:
                with np.errstate(all="ignore"):
                    value, residual = self.run(values, attrs)
        except (ChainruleError, *FOREIGN) as error:
            self._fail_on(error, inputs, attrs)
        if type(value) is not np.ndarray:
            value = np.asarray(value)
        depth = state.depth
        if depth == FULL:
            result = self._record_everything(inputs, values, attrs, value, residual)
        elif depth != OFF and needs and self.differentiable and value.dtype.kind in _FLOATING:
            result = self._record(inputs, values, nodes, attrs, value, residual)
        else:
            result = Tensor(value)
        if self.is_view and value.base is not None:
            base = inputs[0]._base
            if base is not None and np.may_share_memory(value, base._value):
                share(result, inputs[0])
        return result

    def _record(
        self,
        inputs: Sequence[Operand],
        values: list[Any],
        nodes: list[Node | None],
        attrs: dict[str, Any],
        value: np.ndarray,
        residual: Any,
    ) -> Tensor:
        """Leave a node that keeps what the derivative reads, and nothing else."""
        wanted = tuple([node is not None for node in nodes])
        saves = self.saves(wanted, inputs, attrs, value)
        versions: tuple[tuple[Cell, int], ...] = ()
        saved = values
        for i, operand in enumerate(inputs):
            if isinstance(operand, Tensor):
                if not saves[i]:
                    array = values[i]
                    saved[i] = nodes[i] or describe_only(array.shape, array.dtype)
                elif operand._base is not None:
                    versions = (*versions, (operand._base, operand._base.version))
        if self.choice is not None:
            residual = self._choose(inputs, value, attrs)
        saved.append(value if saves[-1] else None)
        saved.append(residual)
        node = Node(self, tuple(nodes), attrs, value.shape, value.dtype, True)
        node.wanted, node.saved, node.versions = wanted, saved, versions
        node.place = user_place(3)
        return Tensor(value, node)

    def _record_everything(
        self,
        inputs: Sequence[Operand],
        values: list[Any],
        attrs: dict[str, Any],
        value: np.ndarray,
        residual: Any,
    ) -> Tensor:
        """Leave a node with every value, whether a derivative flows through it or not."""
        wanted = tuple([_differentiable(operand) for operand in inputs])
        needs = self.differentiable and any(wanted) and value.dtype.kind in _FLOATING
        nodes = tuple(_node_for(operand) for operand in inputs)
        if self.choice is not None and needs:
            residual = self._choose(inputs, value, attrs)
        node = Node(self, nodes, attrs, value.shape, value.dtype, needs)
        node.wanted, node.saved = wanted, [*values, value, residual]
        node.value, node.place = value, user_place(3)
        node.versions = _versions(inputs)
        return Tensor(value, node)

    def _choose(self, inputs: Sequence[Operand], value: np.ndarray, attrs: dict) -> np.ndarray:
        """What the derivative must not decide anew: the choice, taken from the very values."""
        assert self.choice is not None
        with recording(OFF):
            operands = [Tensor(o._value) if isinstance(o, Tensor) else o for o in inputs]
            return self.choice(*operands, Tensor(value), **attrs)._value  # type: ignore[return-value]

    def _trace_for(self, tracer: Any, inputs: Sequence[Operand], attrs: dict[str, Any]) -> Tensor:
        """Record for a tracer, which knows what values that exist now stand for later."""
        lifted = [tracer.lift(o) if isinstance(o, Tensor) else o for o in inputs]
        try:
            if self.definition is not None and not tracer.keeps(self):
                return self.expand(lifted, attrs)  # type: ignore[attr-defined]
            return self._trace(lifted, attrs)
        except (ChainruleError, *FOREIGN) as error:
            self._fail_on(error, lifted, attrs)

    def scalar_dtype(self, inputs: Sequence[Operand]) -> np.dtype | None:
        """The dtype that a Python number among the operands is taken in; None: its own."""
        return None

    def _trace(self, inputs: Sequence[Operand], attrs: dict[str, Any]) -> Tensor:
        """Record without values: what the shape rule says comes out."""
        shape, dtype = self.shape(*inputs, **attrs)
        wanted = tuple([_differentiable(operand) for operand in inputs])
        needs = self.differentiable and any(wanted) and dtypes.is_float(dtype)
        needs = needs and state.depth != OFF
        numbers = self.scalar_dtype(inputs)
        nodes = tuple(_node_for(operand, numbers) for operand in inputs)
        node = Node(self, nodes, attrs, shape, dtype, needs)
        node.wanted, node.place = wanted, user_place(3)
        node.versions = _versions(inputs)
        if self.checks_values and state.batches:
            state.batches[-1].checked.append(node)
        result = Tensor(None, node)
        residual = None
        if self.choice is not None and needs:
            residual = self.choice(*inputs, result, **attrs)
        node.saved = [
            (n if o._value is None else o._value) if isinstance(o, Tensor) else o
            for n, o in zip(nodes, inputs, strict=True)
        ]
        node.saved += [node, residual]
        return result

    def again(self, inputs: Sequence[Operand], attrs: dict[str, Any]) -> Tensor:
        """Run with other operands, as a function of them all whose derivative this has."""
        return self.apply(inputs, attrs)

    def batch(
        self,
        operands: Sequence[Operand],
        batched: Sequence[bool],
        attrs: dict[str, Any],
        size: int,
    ) -> Tensor:
        """Run on many examples at once.

        Args:
            operands: those that are `batched` hold `size` examples along their first axis.
            attrs: as for one example.

        The result has the examples along its first axis, too.
        """
        rule = self.batching if self.batching is not None and size else one_by_one
        return rule(self, operands, batched, attrs, size)

    # Differentiating

    def saves(
        self, wanted: tuple[bool, ...], inputs: Sequence[Operand], attrs: dict, value: np.ndarray
    ) -> tuple[bool, ...]:
        """Which operands, and whether the output, the derivative reads: found by tracing it."""
        key = (
            wanted,
            tuple((o.shape, o.dtype) if isinstance(o, Tensor) else None for o in inputs),
            tuple(attrs.items()),
        )
        found = self._saves.get(key)
        if found is None:
            found = self._saves[key] = self._read_off_saves(wanted, inputs, attrs, value)
        return found

    def _read_off_saves(
        self, wanted: tuple[bool, ...], inputs: Sequence[Operand], attrs: dict, value: Any
    ) -> tuple[bool, ...]:
        probes = [
            Tensor(None, describe_only(o.shape, o.dtype)) if isinstance(o, Tensor) else o
            for o in inputs
        ]
        output = Tensor(None, describe_only(value.shape, value.dtype))
        gradient = Tensor(None, describe_only(value.shape, value.dtype))
        choice = None
        if self.choice is not None:
            with recording(OFF):
                choice = self.choice(*probes, output, **attrs)
            choice = Tensor(None, describe_only(choice.shape, choice.dtype))
        results = self.cotangents(gradient, wanted, probes, output, choice, attrs)
        read = _leaves([c for c in results if c is not None])
        marks = [isinstance(p, Tensor) and id(p._node) in read for p in probes]
        return (*marks, id(output._node) in read)

    def pull(
        self,
        node: Node,
        gradient: Tensor,
        wanted: tuple[bool, ...],
        keep: bool,
        walk: Callable[..., Any],
    ) -> Sequence[Tensor | None]:
        """Cotangents of the operands, from that of the output.

        `keep` makes them differentiable; `walk` takes cotangents back through a whole graph, for
        operations that are defined by one (it is handed in, since `calculus` stands above `ops`).
        """
        operands, output, choice = self.saved_operands(node, keep)
        return self.cotangents(gradient, wanted, operands, output, choice, node.attrs)

    def saved_operands(self, node: Node, keep: bool) -> tuple[list[Operand], Tensor, Any]:
        """(operands, output, choice) of a node as tensors, with their nodes when `keep`."""
        assert node.saved is not None
        *entries, output, residual = node.saved
        operands: list[Operand] = []
        for entry, source in zip(entries, node.inputs, strict=True):
            if isinstance(entry, np.ndarray):
                operands.append(Tensor(entry, source if keep else None))
            elif isinstance(entry, Node):
                operands.append(Tensor(None, entry))
            else:
                operands.append(entry)
        result = (
            Tensor(output, node if keep else None)
            if isinstance(output, np.ndarray)
            else Tensor(None, node)
        )
        choice = Tensor(residual) if isinstance(residual, np.ndarray) else residual
        return operands, result, choice

    def cotangents(
        self,
        gradient: Tensor,
        wanted: tuple[bool, ...],
        operands: Sequence[Operand],
        output: Tensor,
        choice: Tensor | None,
        attrs: dict[str, Any],
    ) -> Sequence[Tensor | None]:
        """The derivative, in reverse: written in operations."""
        raise NotImplementedError

    def push(
        self,
        tangents: Sequence[Tensor | None],
        node: Node,
        keep: bool,
        walk: Callable[..., Tensor],
    ) -> Tensor:
        """The tangent of the output, from those of the operands (None where constant)."""
        operands, output, choice = self.saved_operands(node, keep)
        return self.tangent(tangents, operands, output, choice, node.attrs)

    def tangent(
        self,
        tangents: Sequence[Tensor | None],
        operands: Sequence[Operand],
        output: Tensor,
        choice: Tensor | None,
        attrs: dict[str, Any],
    ) -> Tensor:
        """The derivative, forward: written in operations."""
        raise NotImplementedError

    # Cost

    def cost(self, node: Node) -> tuple[int, int]:
        """(floating-point operations, bytes read and written) of a node."""
        operands = [n for n in node.inputs if n is not None]
        moved = sum(_size(n.shape) * n.dtype.itemsize for n in (*operands, node))
        if self._operations is None:
            return _size(node.shape), moved
        return int(self._operations(node, *node.inputs, **node.attrs)), moved

    # Failing

    def fail(self, error: BaseException, *args: Any, **named: Any) -> NoReturn:
        """Raise the error with the operation, the module path and the user's line in front; an
        error of Python's as one of ours, which tells what was given."""
        if not isinstance(error, ChainruleError):
            mine = getattr(self.arguments, "__name__", "")
            error = ours(error, mine, self.usage(), tell_of(args, named))
        fail(self.name, error)

    def usage(self) -> str:
        """How it is called, for the end of a message."""
        import sys

        space = getattr(sys.modules.get(self.__module__), "NAMESPACE", None)
        name = f"{space}.{self.name}" if space else self.name
        return f"cr.{name}{bare(self)}"

    def _fail_on(self, error: Exception, inputs: Sequence[Operand], attrs: dict) -> NoReturn:
        """An error of NumPy's becomes the shape rule's, which knows what to say."""
        if isinstance(error, ChainruleError):
            self.fail(error)
        try:
            self.shape(*inputs, **attrs)
        except ChainruleError as better:
            self.fail(better)
        except FOREIGN:
            pass  # what went wrong first is said
        if isinstance(error, (ValueError, IndexError)) and not about_steps(error):
            kind = ShapeError if self.checks_shapes_first else DTypeError
            self.fail(kind(f"{error}; the operands are {describe(inputs)}"))
        self.fail(error, *inputs, **attrs)


def _versions(inputs: Sequence[Operand]) -> tuple[tuple[Cell, int], ...]:
    """(cell, its version) of all operands that are, or look into, a parameter or buffer."""
    bases = [o._base for o in inputs if isinstance(o, Tensor) and o._value is not None]
    return tuple((base, base.version) for base in bases if base is not None)


def _differentiable(operand: Operand) -> bool:
    return isinstance(operand, Tensor) and operand._node is not None and operand._node.needs_grad


def _node_for(operand: Operand, numbers: np.dtype | None = None) -> Node | None:
    if isinstance(operand, Tensor):
        return node_of(operand)
    return None if operand is None else constant(np.asarray(operand, numbers))


def _size(shape: tuple[int, ...]) -> int:
    n = 1
    for length in shape:
        n *= length
    return n


def _leaves(roots: Sequence[Any]) -> set[int]:
    """Ids of all nodes from which `roots` were made."""
    seen: set[int] = set()
    stack = [root._node for root in roots if isinstance(root, Tensor) and root._node is not None]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        stack.extend(n for n in node.inputs if n is not None)
    return seen


def describe(inputs: Sequence[Operand]) -> str:
    """Shapes and dtypes of operands, for a message."""
    return ", ".join(f"{o.shape} {o.dtype}" if isinstance(o, Tensor) else repr(o) for o in inputs)


def operands(*args: Any) -> tuple:
    """Tensors from what the user wrote."""
    return tuple(a if isinstance(a, Tensor) else as_operand(a) for a in args)


def conjugate(x: Tensor) -> Tensor:
    """The complex conjugate; a real number itself, not a copy."""
    return x.conj() if x.dtype.kind == "c" else x


def as_dtype_of(x: Tensor, like: Tensor) -> Tensor:
    """A derivative in the dtype of what it belongs to: of a real number, the real part."""
    if x.dtype.kind == "c" and like.dtype.kind != "c":
        x = x.real
    return x if x.dtype == like.dtype else x.astype(like.dtype)


def no_derivative(name: str, reason: str) -> GradientError:
    return GradientError(f"`{name}` has no derivative: {reason}")
