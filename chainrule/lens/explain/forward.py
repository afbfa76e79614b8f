"""The forward pass and the loss of a network, step by step, from the one graph.

Every line of a step comes from the operation that ran: its declared formula, the operands that it
was given, the value that it left. The check evaluates the same formula in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, DTypeError
from chainrule.lens.explain.derivation import Check, Derivation, Step
from chainrule.lens.explain.notes import notes
from chainrule.nn.undisturbed import undisturbed
from chainrule.ops.operation import Operation
from chainrule.places import show
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import FULL, Node, recording
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor


@explained
def explain(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    names: dict[str, Any] | None = None,
) -> Derivation:
    """The forward pass of `model` on `x`, and the loss against `y`, with their real numbers.

    Args:
        model: a module, or any function of tensors.
        x: its input, (n, …).
        y: the target, in the form that `loss` takes.
        loss: a function (output, target) -> tensor, such as `nn.cross_entropy`.
        names: further tensors to call by name.

    Returns:
        A `Derivation`, which prints itself; `.verified` says whether every step, recomputed in
        float64 from its formula, agrees; `.to_dict()` is the data.

    >>> import chainrule as cr
    >>> derivation = cr.explain(cr.tanh, cr.asarray([0.5]))
    >>> derivation.verified, derivation.steps[0].formula
    (True, 'y = tanh(x)')
    """
    if not callable(model):
        raise DTypeError(f"explain takes a module or a function, not {type(model).__name__}")
    source = as_operand(x)
    known: dict[int, str] = {id(source._value): "x"}
    for name, parameter in _parameters(model):
        known[id(parameter._value)] = name
    for name, tensor in (names or {}).items():
        known[id(as_operand(tensor)._value)] = name
    with recording(FULL), undisturbed(model):
        output = model(source)
        result = output
        if loss is not None:
            target = as_operand(y)
            known[id(target._value)] = "y"
            result = loss(output, target)
    if not isinstance(result, Tensor) or result._node is None:
        raise ChainruleError(
            f"there is nothing to explain: the function gave {type(result).__name__}, and no "
            "operation of chainrule led to it. Write the model with chainrule's operations."
        )
    steps = [step for step in _Namer(known).steps(_history(result._node))]
    title = f"{type(model).__name__} on an input of shape {source.shape}"
    return Derivation(title, steps)


def _parameters(model: Any) -> list[tuple[str, Tensor]]:
    named: list[tuple[str, Tensor]] = []
    for method in ("named_parameters", "named_buffers"):
        if hasattr(model, method):
            named.extend(getattr(model, method)())
    return named


def _history(root: Node) -> list[Node]:
    """Every operation that led to `root`, oldest first."""
    seen = {id(root): root}
    stack = [root]
    while stack:
        for node in stack.pop().inputs:
            if node is not None and id(node) not in seen:
                seen[id(node)] = node
                stack.append(node)
    return sorted((n for n in seen.values() if n.op is not None), key=lambda n: n.serial)


class _Namer:
    """Gives results names as a textbook does: z1 = W x + b, a1 = f(z1), …"""

    def __init__(self, known: dict[int, str]) -> None:
        self.known = known
        self.layer = 0
        self.count: dict[str, int] = {}

    def steps(self, nodes: list[Node]) -> list[Step]:
        last = nodes[-1] if nodes else None
        return [self._step(node, node is last) for node in nodes]

    def _new_name(self, node: Node, final: bool) -> str:
        if final and node.shape == ():
            return "L"
        if node.op.name in ("linear", "matmul", "conv2d"):
            self.layer += 1
            base = f"z{self.layer}"
        else:
            base = f"a{self.layer}" if self.layer else "a"
        self.count[base] = self.count.get(base, 0) + 1
        return base if self.count[base] == 1 else base + "′" * (self.count[base] - 1)

    def _call(self, value: Any) -> str:
        if not isinstance(value, np.ndarray):
            return repr(value)
        name = self.known.get(id(value))
        if name is not None:
            return name
        return f"{value.item():.6g}" if value.size == 1 else f"constant{list(value.shape)}"

    def _step(self, node: Node, final: bool) -> Step:
        assert node.saved is not None
        assert node.value is not None
        op: Operation = node.op
        arrays = [entry for entry in node.saved[: len(node.inputs)] if entry is not None]
        operands = tuple(self._call(a) for a in arrays)
        name = self._new_name(node, final)
        self.known[id(node.value)] = name
        view = formula_operands(op, node)
        renamed = {"y": name, **self._renames(op, node)}
        index = tuple(int(i) for i in np.unravel_index(_telling(node.value), node.value.shape))
        numbers = ""
        if view is not None and node.value.size:
            shaped = view[1]
            position = np.unravel_index(_telling(shaped), shaped.shape)
            numbers = op.formula.substitute(view[0], tuple(int(i) for i in position))
            if index:
                numbers = f"{name}[{', '.join(map(str, index))}] = {numbers}"
        return Step(
            name=name,
            operation=op.name,
            operands=operands,
            formula=op.formula.plain(),
            named=op.formula.plain(renamed),
            numbers=numbers,
            value=node.value,
            module=node.scope.describe() if node.scope is not None else "",
            place=show(node.place),
            check=check_forward(op, node),
            notes=notes(node),
        )

    def _renames(self, op: Operation, node: Node) -> dict[str, str]:
        """What the formula's operands are called in this network."""
        assert node.saved is not None
        arrays = node.saved[: len(node.inputs)]
        return {
            key: self._call(value)
            for key, value in zip(op.operand_names, arrays, strict=False)
            if id(value) in self.known or not isinstance(value, (np.ndarray, type(None)))
        }


def _telling(value: np.ndarray) -> int:
    """The element to write out: the largest in absolute value."""
    return int(np.argmax(np.abs(value))) if value.size else 0


def formula_operands(op: Operation, node: Node) -> tuple[dict[str, Any], np.ndarray] | None:
    """(what the formula's names stand for, the result as it sees it); None if only shown."""
    if op.display_only or node.saved is None or node.value is None:
        return None
    arrays = list(node.saved[: len(node.inputs)])
    if op.formula_view is not None:
        return op.formula_view(*arrays, y=node.value, **node.attrs)
    return dict(zip(op.operand_names, arrays, strict=False)), node.value


def check_forward(op: Operation, node: Node) -> Check | None:
    """The value, recomputed from the formula in float64, against the one that ran.

    What rounding may explain is measured: the formula is evaluated again with every operand moved
    by one unit in the last place, up or down at random. The largest change δ stands for one
    rounding of each operand; an output that adds up K terms may be off by some √K of it.
    """
    view = formula_operands(op, node)
    if view is None:
        return None
    operands, result = view
    exact = op.formula.evaluate(_widened(operands), result.shape)
    eps = float(np.finfo(result.dtype).eps) if result.dtype.kind == "f" else 0.0
    rng = np.random.default_rng(0)
    change = 0.0
    for _ in range(3):
        moved = {k: _moved(v, eps, rng) for k, v in operands.items()}
        other = op.formula.evaluate(_widened(moved), result.shape)
        change = max(change, _largest(other - exact))
    terms = max(1.0, op.cost(node)[0] / max(1, result.size))
    bound = 4 * np.sqrt(terms) * change + 4 * eps * _largest(exact)
    return Check("formula in float64", _largest(result.astype(np.float64) - exact), bound)


def _largest(values: np.ndarray) -> float:
    return float(np.max(np.abs(values))) if values.size else 0.0


def _widened(operands: dict[str, Any]) -> dict[str, Any]:
    return {
        k: v.astype(np.float64) if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v
        for k, v in operands.items()
    }


def _moved(value: Any, eps: float, rng: np.random.Generator) -> Any:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    return value.astype(np.float64) * (1 + eps * rng.choice([-1.0, 1.0], value.shape))
