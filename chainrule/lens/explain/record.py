"""A network run once, with everything kept: what every question about it is answered from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.calculus.reverse import pull_back
from chainrule.compile.compiled import Compiled
from chainrule.errors import ChainruleError, DataError, DTypeError
from chainrule.lens.explain.names import Names
from chainrule.nn.undisturbed import undisturbed
from chainrule.probability.assumed import Assumption, noted
from chainrule.tensor.creation import as_operand
from chainrule.tensor.generator import Draws
from chainrule.tensor.graph import FULL, OFF, Node, quiet, reachable, recording
from chainrule.tensor.tensor import Tensor


@dataclass
class Recorded:
    """A forward pass, from the input to the loss.

    Attributes:
        model: the module or function.
        nodes: every operation that led to the result, oldest first.
        names: what their values are called.
        given: input, target, parameters, buffers and named tensors, by name.
        parameters: by name.
        output: the node of the model's output; None where the model gave its input back.
        result: the last node: the loss, or the output where there is no loss.
        training: whether the model ran in training mode.
    """

    model: Any
    nodes: list[Node]
    names: Names
    given: dict[str, np.ndarray]
    parameters: dict[str, Tensor]
    output: Node | None
    result: Node
    loss: Callable[..., Any] | None
    training: bool
    arguments: tuple[tuple[Tensor, ...], Tensor | None] = field(default=((), None), repr=False)
    """The inputs, and the target."""
    draws: Draws = field(default_factory=Draws, repr=False)
    """What was drawn at random, so that the network can be run again with the same."""
    assumptions: list[Assumption] = field(default_factory=list, repr=False)
    """The losses that ran, and which distribution each is the likelihood of."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the inputs are called."""
        return input_names(self.arguments[0])

    def name(self, node: Node) -> str:
        """What a node's value is called."""
        return self.names.of(node.value if node.op is not None else _leaf_value(node))

    @cached_property
    def gradients(self) -> dict[Node, np.ndarray]:
        """∂L/∂q for the value q of every node that a derivative passes, leaves too.

        Raises:
            ChainruleError: the result is no single number.
        """
        return self.backward[0]

    @cached_property
    def pullbacks(self) -> list[Pullback]:
        """What each operation did with the gradient that arrived, in the order of backward."""
        return self.backward[1]

    @cached_property
    def backward(self) -> tuple[dict[Node, np.ndarray], list[Pullback]]:
        """The backward pass, by the very derivatives that training runs."""
        if self.result.shape != ():
            raise ChainruleError(
                "a backward pass starts at a single number, and this result has the shape "
                f"{self.result.shape}. Give explain a loss= and a target."
            )
        totals: dict[Node, Tensor] = {self.result: Tensor(np.ones((), self.result.dtype))}
        found: list[Pullback] = []
        with recording(OFF), quiet():
            for node in reversed(self.nodes):
                gradient = totals.get(node)
                if gradient is None or not node.needs_grad:
                    continue
                results = _pulled(node, gradient)
                for position, (source, part) in enumerate(zip(node.inputs, results, strict=False)):
                    if source is None or part is None or not node.wanted[position]:
                        continue
                    before = totals.get(source)
                    totals[source] = part if before is None else before + part
                    found.append(Pullback(node, position, source, part.numpy()))
        return {node: total.numpy() for node, total in totals.items()}, found


def _pulled(node: Node, gradient: Tensor) -> Sequence[Tensor | None]:
    """The operands' cotangents; added up in place where a plain `backward()` does so."""
    (source, *others), add = node.inputs, node.op.add_cotangent
    if add is None or others or source is None or gradient.dtype != source.dtype:
        return node.op.pull(node, gradient, node.wanted, False, pull_back)
    total = np.zeros(source.shape, source.dtype)
    add(total, gradient.numpy(), **node.attrs)
    return [Tensor(total)]


@dataclass(frozen=True)
class Pullback:
    """What one operation gave back for one of its operands.

    Attributes:
        node: the operation that ran forward.
        position: which operand.
        source: the operand's node.
        value: its share of ∂L/∂operand: all of it, unless the operand was used several times.
    """

    node: Node
    position: int
    source: Node
    value: np.ndarray


def _leaf_value(node: Node) -> Any:
    if node.value is not None:
        return node.value
    owner = node.owner() if node.owner is not None else None
    return None if owner is None else owner._value


def record(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    names: dict[str, Any] | None = None,
    training: bool = False,
) -> Recorded:
    """Run a model, and the loss, and keep everything; the model is left as it was.

    Raises:
        DTypeError: the model is not callable, or a loss without a target.
        ChainruleError: no operation of chainrule led to the result.
    """
    if not callable(model):
        raise DTypeError(f"explain takes a module or a function, not {type(model).__name__}")
    if isinstance(model, Compiled):  # it runs the same operations; the module has the parameters
        model = model.__wrapped__
    if loss is not None and not callable(loss):
        raise DTypeError(
            f"a loss is a function of output and target, such as nn.cross_entropy, not {loss!r}"
        )
    for name in names or {}:
        if not isinstance(name, str):
            raise DTypeError(f"names are text, with a tensor for each; {name!r} is not")
    if loss is not None and y is None:
        raise DataError("a loss compares with a target: give explain the y, too")
    parameters = _named(model, "named_parameters")
    several = isinstance(x, tuple) and all(isinstance(part, (Tensor, np.ndarray)) for part in x)
    sources = (
        tuple(_cast(as_operand(part), parameters) for part in x)
        if several
        else (_cast(as_operand(x), parameters),)
    )
    target = None if y is None else _cast(as_operand(y), parameters)
    given: dict[str, Any] = {
        name: source._value for name, source in zip(input_names(sources), sources, strict=True)
    }
    for name, tensor in (parameters | _named(model, "named_buffers")).items():
        given[name] = tensor._value
    for name, other in (names or {}).items():
        given[name] = as_operand(other)._value
    draws = Draws()
    with (
        recording(FULL),
        undisturbed(model, training=training),
        draws.recorded(),
        noted() as assumptions,
    ):
        output = result = model(*sources)
        if loss is not None:
            assert target is not None
            given["y"] = target._value
            result = loss(output, target)
    if not isinstance(result, Tensor) or result._node is None or result._node.op is None:
        raise ChainruleError(
            f"there is nothing to explain: the function gave {type(result).__name__}, and no "
            "operation of chainrule led to it. Write the model with chainrule's operations."
        )
    nodes = [node for node in reachable([result._node]) if node.op is not None]
    for node in nodes:
        if node.saved is None or node.value is None:
            raise ChainruleError(
                f"the result is made of what `{node.op.name}` gave before explain was called, and "
                "explain shows what runs while it watches. Compute it inside of the function, or "
                "use tensor.detach(), for which it is a constant."
            )
    live, given = given, _kept(nodes, given)
    called = Names(given)
    for name, array in live.items():
        called.call(array, name)
    for node in nodes:
        called.give(node, final=node is nodes[-1])
    return Recorded(
        model, nodes, called, given, parameters,
        output._node if isinstance(output, Tensor) else None,
        result._node, loss, training, (sources, target), draws, assumptions,
    )  # fmt: skip


def input_names(sources: tuple[Tensor, ...]) -> tuple[str, ...]:
    """x, or x1, x2, … of a model with several inputs."""
    if len(sources) == 1:
        return ("x",)
    return tuple(f"x{i}" for i in range(1, len(sources) + 1))


def _cast(tensor: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    """Floating-point data in the parameters' dtype, as layers cast it; by itself it is no step. How
    the data came about is not explained."""
    if tensor._node is not None and tensor._node.op is not None:
        tensor = tensor.detach()
    own = next((p.dtype for p in parameters.values() if p.dtype.kind == "f"), tensor.dtype)
    if tensor.dtype.kind != "f" or tensor.dtype == own or tensor._node is not None:
        return tensor
    return Tensor(tensor.numpy().astype(own))


def _kept(nodes: list[Node], given: dict[str, Any]) -> dict[str, Any]:
    """What was given, and what the nodes hold of it, in copies: training writes to parameters."""
    owners = {id(_owner(array)) for array in given.values()}
    copies: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def kept(entry: Any) -> Any:
        if not isinstance(entry, np.ndarray) or id(_owner(entry)) not in owners:
            return entry
        return copies.setdefault(id(entry), (entry, entry.copy(order="K")))[1]

    for node in nodes:
        assert node.saved is not None
        node.value, node.saved = kept(node.value), [kept(entry) for entry in node.saved]
    return {name: kept(array) for name, array in given.items()}


def _owner(array: np.ndarray) -> Any:
    """The array whose memory an array looks into."""
    return array if array.base is None else array.base


def _named(model: Any, method: str) -> dict[str, Tensor]:
    return dict(getattr(model, method)()) if hasattr(model, method) else {}
