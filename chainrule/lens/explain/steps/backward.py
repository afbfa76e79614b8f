"""The backward pass, step by step: the gradient that each operation was handed, and what its
derivative made of it.

The values are what the derivatives that training runs gave back. The formulas are those
derivatives, written out; the names of the rules follow Parr and Howard, The Matrix Calculus You
Need For Deep Learning (2018). Every value is checked by differences, which know no derivative.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from chainrule.errors import GradientError
from chainrule.lens.explain.derivation import Check, Element, Section, Step, Symbols, largest
from chainrule.lens.explain.names import cotangent
from chainrule.lens.explain.record import Pullback, Recorded
from chainrule.lens.explain.remark import Remark, quoted, remarked
from chainrule.lens.explain.statement import Recomputed
from chainrule.lens.explain.steps.differences import DerivativeClaim
from chainrule.lens.explain.steps.forward import breaks, furthest, grouped, source_line
from chainrule.lens.explain.steps.probes import is_separable
from chainrule.lens.explain.steps.pullback import Forms, Values, written
from chainrule.ops.notation import parse
from chainrule.places import show
from chainrule.tensor.graph import Node, quiet

_MOST = 12
"""Layers whose gradients' norms are listed one by one."""


def backward_section(recorded: Recorded) -> Section | None:
    """From ∂L/∂L = 1 back to the parameters; None where no derivative leads to the result, or the
    forward pass broke.

    A quantity that is used several times has a step for each path, and then their sum.
    """
    if recorded.result.shape != () or recorded.result.dtype.kind not in "fV":
        return None if recorded.loss is None else _not_begun(recorded)
    finite = bool(np.isfinite(recorded.result.value.astype(np.float64)))  # type: ignore[union-attr]
    if not finite or any(breaks(node) for node in recorded.nodes):
        return None
    ends = list(_ends(recorded))
    if not recorded.result.needs_grad:
        return Section("Backward pass", tuple(ends)) if ends else None
    try:
        with quiet():
            steps = list(_steps(recorded))
    except GradientError as error:
        step = Step("∂L", "no derivative passes", rule="no derivative", notes=(str(error),))
        return Section("Backward pass", (*ends, step))
    flow = _flow(recorded)
    parts = (_seed(recorded), *grouped(steps), *ends, *([flow] if flow is not None else []))
    return Section("Backward pass", parts)


def _not_begun(recorded: Recorded) -> Section:
    """Why there is no backward pass from a loss that is no single number."""
    result = recorded.result
    note = (
        f"the loss has the shape {result.shape} and is {result.dtype}; a backward pass starts at "
        "one real number. Take the loss's mean or sum, as its reduction= does."
    )
    step = Step("∂L", "no backward pass", rule="a derivative of one number", notes=(note,))
    return Section("Backward pass", (step,))


def gradient_name(recorded: Recorded, node: Node) -> str:
    """What ∂L/∂q is called, for the value q of a node."""
    return cotangent(recorded.name(node), parameter=node.op is None)


def _seed(recorded: Recorded) -> Step:
    """Where the backward pass starts."""
    one = recorded.gradients[recorded.result]
    loss = recorded.name(recorded.result)
    name = gradient_name(recorded, recorded.result)
    return Step(
        name=name,
        title=f"{name} = ∂{loss}/∂{loss} = 1",
        operands=(loss,),
        rule="the derivative of a quantity in itself",
        value=one,
        claims=(Recomputed(f"∂{loss}/∂{loss}", np.ones(()), 0.0),),
    )


def _steps(recorded: Recorded) -> Iterator[tuple[Node, Step]]:
    """A step for each pullback, and for each sum over paths."""
    paths: dict[Node, list[Pullback]] = {}
    for pullback in recorded.pullbacks:
        paths.setdefault(pullback.source, []).append(pullback)
    forms: Forms = {}
    for node, pullbacks in itertools.groupby(recorded.pullbacks, key=lambda p: p.node):
        values: Values = {}
        for pullback in pullbacks:
            several = paths[pullback.source]
            name = _name(recorded, pullback, several)
            yield node, _step(recorded, pullback, name, forms, values)
            if len(several) > 1 and pullback is several[-1]:
                yield node, _sum(recorded, pullback.source, several)


def _name(recorded: Recorded, pullback: Pullback, several: list[Pullback]) -> str:
    """What came back is called: with the path, where there are several."""
    name = gradient_name(recorded, pullback.source)
    if len(several) == 1:
        return name
    through = recorded.name(pullback.node)
    if sum(other.node is pullback.node for other in several) > 1:
        through += f", {_operand(pullback)}"
    return f"{name} ({through})"


def _operand(pullback: Pullback) -> str:
    """What the operation calls the operand."""
    names = pullback.node.op.operand_names
    known = pullback.position < len(names)
    return names[pullback.position] if known else f"operand {pullback.position}"


def derivative_claim(recorded: Recorded, pullback: Pullback) -> DerivativeClaim:
    """What is claimed about what came back."""
    node = pullback.node
    assert node.saved is not None
    operations = node.op.cost(node)[0]
    return DerivativeClaim(
        node.op,
        tuple(node.saved[: len(node.inputs)]),
        node.attrs,
        pullback.position,
        recorded.gradients[node],
        pullback.value,
        max(1.0, operations / max(1, pullback.value.size)),
    )


def _step(recorded: Recorded, pullback: Pullback, name: str, forms: Forms, values: Values) -> Step:
    """One operation's derivative, for one of its operands."""
    node, op = pullback.node, pullback.node.op
    arriving = gradient_name(recorded, node)
    claim = derivative_claim(recorded, pullback)
    meaning = f"∂{recorded.name(recorded.result)}/∂{recorded.name(pullback.source)}"
    meaning = name if name.startswith(meaning) else f"{name} = {meaning}"
    how = written(recorded, pullback, name, arriving, forms, values)
    step = Step(
        name=name,
        title=f"{meaning}: back through {op.name} ({recorded.name(node)})",
        operation=op.name,
        operands=(arriving, *how.operands),
        rule=how.rule,
        formula=how.formula,
        named=how.named,
        matrix=how.matrix,
        elements=how.elements,
        value=pullback.value,
        module=node.scope.describe() if node.scope is not None else "",
        place=show(node.place),
        code=source_line(node),
        claims=(claim,),
    )
    return _with_slope(recorded, pullback, step, claim)


def _with_slope(recorded: Recorded, pullback: Pullback, step: Step, claim: DerivativeClaim) -> Step:
    """With the local derivative of the element that is largest, where there is one number."""
    value, g = pullback.value, claim.arriving
    separable = is_separable(claim.op, value.shape, g.shape)
    if not separable or value.shape != g.shape or not value.size:
        return step
    index = largest(value)
    if value.dtype.kind == "c" or not g[index] or not np.isfinite(value[index] / g[index]):
        return step
    of, at = recorded.name(pullback.node), f"[{', '.join(map(str, index))}]" if index else ""
    by = recorded.name(pullback.source)
    handed = float(g[index])

    def again(value: np.ndarray) -> tuple[float]:
        return (float(value[index]) / handed,)

    local = f"The local derivative ∂{of}{at}/∂{by}{at} is "
    return remarked(step, Remark(quoted(local) + "{}.", (float(value[index]) / handed,), again))


def _sum(recorded: Recorded, source: Node, several: list[Pullback]) -> Step:
    """The multivariable chain rule: what came back along all paths adds up."""
    name = gradient_name(recorded, source)
    total = recorded.gradients[source]
    shares: list[np.ndarray] = [
        pullback.value.astype(_wide(pullback.value)) for pullback in several
    ]
    eps = float(np.finfo(total.dtype).eps) if total.dtype.kind in "fc" else 2.0**-7
    size = np.sum([np.abs(share) for share in shares], axis=0)
    bound = len(several) * eps * float(np.max(size, initial=0.0))
    names = tuple(_name(recorded, pullback, several) for pullback in several)
    letters = [f"p{k}" for k in range(len(several))]
    formula = parse(" + ".join(letters))
    called = dict(zip(letters, names, strict=True))
    elements: tuple[Element, ...] = ()
    if total.size and total.dtype.kind != "c":
        index, values = largest(total), dict(zip(letters, shares, strict=True))
        sources = {letter: (called[letter], share) for letter, share in values.items()}
        elements = (Element(index, formula.instantiate(values, index), sources),)
    return Step(
        name=name,
        title=f"{name}: the sum over {len(several)} paths",
        operands=names,
        rule="sum over paths (multivariable chain rule)",
        named=Symbols(formula, called | {formula.output: name}),
        elements=elements,
        value=total,
        claims=(PathsAddUp(np.sum(shares, axis=0), bound),),
    )


@dataclass(frozen=True, eq=False)
class PathsAddUp:
    """That a step's value is what came back along all paths.

    Attributes:
        total: that, added up in float64.
        rounding: what rounding in the dtype that ran may explain.
    """

    total: np.ndarray
    rounding: float

    def check(self, step: Step) -> Check:
        assert step.value is not None
        gap = furthest(step.value, self.total)
        return Check("the paths added up in float64", gap, self.rounding)


def _wide(value: np.ndarray) -> type:
    return np.complex128 if value.dtype.kind == "c" else np.float64


def _ends(recorded: Recorded) -> Iterator[Step]:
    """Operations that no derivative passes, though something behind them could be learnt."""
    for node in recorded.nodes:
        if node.needs_grad or not any(n is not None and n.needs_grad for n in node.inputs):
            continue
        reason = getattr(node.op, "reason", "") or "its result is not made of real numbers"
        name = recorded.name(node)
        yield Step(
            name=f"∂{name}",
            title=f"no gradient passes {name} = {node.op.name}",
            operation=node.op.name,
            operands=(name,),
            rule="no derivative",
            module=node.scope.describe() if node.scope is not None else "",
            place=show(node.place),
            code=source_line(node),
            notes=(f"`{node.op.name}` has no derivative: {reason}.",),
        )


def _flow(recorded: Recorded) -> Step | None:
    """Where the gradient shrank or grew: ‖∂L/∂z‖ of every layer, from the loss back."""
    layers = [
        node
        for node in reversed(recorded.nodes)
        if node in recorded.gradients and recorded.name(node).startswith("z")
    ]
    if len(layers) < 2:
        return None
    gradients = [recorded.gradients[node] for node in layers]
    norms = np.array([np.linalg.norm(g.astype(_wide(g)).reshape(-1)) for g in gradients])
    names = [gradient_name(recorded, node) for node in layers]
    again = np.array([np.sqrt(np.sum(np.abs(g.astype(_wide(g))) ** 2)) for g in gradients])
    bound = 1e-9 * float(np.max(norms, initial=0.0))
    step = Step(
        name="‖δ‖",
        title="where the gradient shrank or grew: ‖δ‖, layer by layer from the loss back",
        operands=tuple(names),
        rule="norms",
        value=norms,
        claims=(Recomputed("the squares of all elements added up", again, bound),),
    )
    return remarked(step, *_factors(names, norms))


def _factors(names: list[str], norms: np.ndarray) -> Iterator[Remark]:
    """From each layer to the one before it, or the strongest changes where there are many."""
    with np.errstate(all="ignore"):
        factors = norms[1:] / norms[:-1]
        strength = np.abs(np.log(factors))
    strength[np.isnan(strength)] = 0.0
    order = np.argsort(-strength, kind="stable")[:_MOST]
    for i in sorted(int(k) for k in order):
        verb = "shrank" if norms[i + 1] < norms[i] else "grew"
        here, there = quoted(names[i]), quoted(names[i + 1])
        text = f"From ‖{here}‖ = {{}} to ‖{there}‖ = {{}} the gradient {verb}: × {{}}."

        def again(value: np.ndarray, i: int = i) -> tuple[float, ...]:
            return float(value[i]), float(value[i + 1]), float(value[i + 1] / value[i])

        if norms[i]:
            yield Remark(text, (float(norms[i]), float(norms[i + 1]), float(factors[i])), again)
    if norms[0]:
        text = f"From ‖{names[0]}‖ to ‖{names[-1]}‖ in all: × {{}}."
        yield Remark(text, (float(norms[-1] / norms[0]),), lambda v: (float(v[-1] / v[0]),))
