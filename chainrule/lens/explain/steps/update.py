"""The update: what an optimiser makes of the gradient, statement by statement.

The lines are those of the optimiser's declared formula, under the options that it has now. Values
that it keeps (weights, running means) are those that its own step gives, taken on a copy; the check
evaluates the formula in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError, GradientError
from chainrule.lens.explain.derivation import Element, Section, Step, Symbols, Words, largest
from chainrule.lens.explain.names import cotangent
from chainrule.lens.explain.record import Recorded
from chainrule.lens.explain.steps.forward import breaks, widened
from chainrule.lens.explain.steps.stepping import Change, can_search, first_iteration, stepped
from chainrule.lens.explain.steps.update_check import RuleClaim, Statements, UpdateClaim, reads
from chainrule.ops.notation import Formula, parse
from chainrule.ops.notation.render import Plain
from chainrule.ops.notation.specialise import specialised
from chainrule.ops.notation.tree import Statement
from chainrule.optim import LBFGS, Optimizer
from chainrule.tensor.inspection import finfo
from chainrule.tensor.tensor import Tensor

_LENGTH = "Δ = √(Σ_k (w′⟨k⟩ − w⟨k⟩)²); ratio = Δ / √(Σ_k w⟨k⟩²)"
"""How long the step is, and beside the weights that it changes."""


def update_section(recorded: Recorded, optimizer: Any) -> Section:
    """What one step of an optimiser does to each parameter; nothing is updated.

    Args:
        recorded: a network that ran, up to its loss.
        optimizer: of the network's parameters, with the state that it has now; or several, of
            different parameters.

    Raises:
        DTypeError: no optimiser of `chainrule.optim`.
        DataError: it holds no parameter that the loss depends on.
        ChainruleError: the result is no loss, a single number.
    """
    optimizers = list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer]
    for each in optimizers:
        if not isinstance(each, Optimizer):
            raise DTypeError(
                f"explain takes an optimiser of chainrule.optim, not {type(each).__name__}"
            )
    if any(breaks(node) for node in recorded.nodes):
        return _none("the forward pass gives no finite number")
    try:
        found = recorded.gradients
    except GradientError as error:
        return _none(str(error))
    held = [p for each in optimizers for p in each._all()]
    parts: list[Section | Step] = []
    changes: dict[Tensor, Change] = {}
    for each in optimizers:
        gradients = {p: found[p._node] for p in each._all() if p._node in found}
        if not gradients:
            raise _stranger(recorded, each)
        if isinstance(each, LBFGS):
            parts.append(_lbfgs(recorded, each, gradients))
        else:
            changes |= stepped(each, gradients)
    for name, p in recorded.parameters.items():
        if p in changes:
            parts.append(_section(name, changes.pop(p)))
        elif p._node not in found or all(p is not q for q in held):
            parts.append(_left_alone(name, p, any(p is q for q in held)))
    known = recorded.names
    for number, p in enumerate(held):  # those of a function that is no module
        if p in changes:
            name = known.of(p._value) if known.knows(p._value) else f"p{number}"
            parts.append(_section(name, changes[p]))
    summary = "; ".join(f"{type(each).__name__}: {each.formula}" for each in optimizers)
    return Section("Update", tuple(parts), summary=summary)


def _stranger(recorded: Recorded, optimizer: Optimizer) -> DataError:
    names = ", ".join(list(recorded.parameters)[:5]) or "none by name"
    return DataError(
        f"this {type(optimizer).__name__} holds no parameter that the loss depends on, so its step "
        f"has nothing to do here. The model's parameters: {names}. Was the optimiser made for "
        "another model, or before the model was copied or loaded?"
    )


def _none(why: str) -> Section:
    return Section("Update", (Step("Δ", "there is no step", notes=(why,)),))


def _left_alone(name: str, p: Tensor, held: bool) -> Step:
    """The step of a parameter that stays what it is."""
    if not held:
        why = "no optimiser holds it"
    elif not p.requires_grad:
        why = "it does not require a gradient"
    else:
        why = "the loss does not depend on it, so there is no gradient"
    return Step(f"{name}′", f"{name} is not updated: {why}")


def _lbfgs(
    recorded: Recorded, optimizer: LBFGS, gradients: dict[Tensor, np.ndarray]
) -> Section | Step:
    """All parameters as one vector θ, and the first iteration of a call of step()."""
    search = optimizer.param_groups[0]["line_search_fn"] is not None
    if search and not can_search(recorded):
        raise DataError(
            "the line search of this LBFGS computes the loss at other weights, which explain does "
            "on a copy of the model; give it an nn.Module, not a function"
        )
    change = first_iteration(recorded, optimizer, gradients)
    if change is None:
        why = "the gradient is at most tolerance_grad, or the direction is not downhill"
        return Step("θ′", f"θ is not updated: {why}")
    told = "θ is all parameters, one behind the other; this is the first iteration of step()"
    if search:
        told += "; its length η was found by the line search"
    return replace(_section("θ", change), summary=told)


def _section(name: str, change: Change) -> Section:
    """The statements of one parameter, one step each."""
    if not change.p.size:
        return Section(name, (Step(f"{name}′", f"{name} has no elements"),), "component")
    try:
        return _Parameter(name, change, _statements(change)).section()
    except ValueError as error:
        return _undeclared(name, change, str(error).splitlines()[0])


def _undeclared(name: str, change: Change, why: str) -> Section:
    """The new values alone, of an optimiser whose formula cannot be evaluated."""
    kind = type(change.optimizer).__name__
    note = f"The formula of {kind} cannot be evaluated ({why}); its rule was run in float64 instead"
    steps = [
        Step(
            name=f"{name}′" if key == "w" else f"{key}′({name})",
            title=f"{name}′: the step" if key == "w" else f"{key}′({name}): running value {key}",
            operation=kind,
            formula=Words(change.optimizer.formula),
            value=value,
            code="optimizer.step()",
            notes=(note,),
            claims=(RuleClaim(change, key),),
        )
        for key, value in reversed(change.after.items())
    ]
    return Section(name, tuple(steps), "component", f"updated by {kind}")


def _statements(change: Change) -> Statements:
    """The statements that update a parameter, and everything that they read."""
    optimizer, p, group = change.optimizer, change.p, change.group
    symbols = optimizer.symbols(p, group, change.count)
    known = {k: v for k, v in symbols.items() if isinstance(v, (bool, int, float, np.number))}
    given = symbols | dict(change.seen(change.before))
    kept = {f"{letter}′": value for letter, value in change.seen(change.after)}
    text = optimizer.equations(p, group, change.count)
    if group.get("maximize"):
        text = f"g = −G; {text}"
    given[change.gradient_letter] = optimizer.as_seen(change.gradient)
    length = _LENGTH if change.before["w"].any() else _LENGTH.split(";")[0]
    statements = _parsed(f"{text}; {length}").statements
    stated = {s.target.name: symbols[s.target.name] for s in statements if s.target.name in symbols}
    statements = specialised(statements, known, kept)
    return Statements(statements, widened(given), widened(kept | stated), kept["w′"].dtype)


_parsed = lru_cache(maxsize=64)(parse)
"""Formulas that have been read: those of all parameters of a group are mostly the same."""


@dataclass(frozen=True)
class _Parameter:
    """One parameter's statements, as steps of a derivation.

    Attributes:
        name: the parameter's.
        change: what the step does to it.
        chain: the statements, evaluated.
    """

    name: str
    change: Change
    chain: Statements

    def section(self) -> Section:
        chain = self.chain
        steps: dict[str, Step] = {}
        for statement in chain.statements:
            target = statement.target.name
            for letter in (*reads(statement, chain.values), target):
                if letter in chain.kept and letter not in chain.exact and letter not in steps:
                    steps[letter] = self.blank(letter)
            steps[target] = self.step(statement)
        return Section(self.name, tuple(steps.values()), "component", f"updated by {self.kind}")

    @property
    def kind(self) -> str:
        return type(self.change.optimizer).__name__

    @cached_property
    def options(self) -> dict[str, Any]:
        return self.change.optimizer.symbols(self.change.p, self.change.group, self.change.count)

    @cached_property
    def running(self) -> dict[str, str]:
        """The names of the running values, by the letters of their new values."""
        letters = self.change.optimizer.letters
        return {f"{letters.get(name, name)}′": name for name in self.change.after if name != "w"}

    @cached_property
    def telling(self) -> tuple[int, ...]:
        """The element that is written out: that with the largest gradient."""
        return largest(self.change.optimizer.as_seen(self.change.gradient))

    def shown(self, letter: str) -> str:
        """What a letter is called for this parameter; options are called the same for all."""
        if letter in ("w", "w′"):
            return letter.replace("w", self.name)
        if letter == self.change.gradient_letter:
            return cotangent(self.name, parameter=True)
        same = letter in self.options and letter not in self.chain.exact
        return letter if same else f"{letter}({self.name})"

    def blank(self, letter: str) -> Step:
        """The step of a new value, without a formula: a running value that an algorithm finds, of
        which a statement says what it has to be."""
        rule = "the step" if letter == "w′" else "definition"
        if letter in self.chain.kept and letter in self.running:
            rule = f"running value {self.running[letter]}"
        return Step(
            name=self.shown(letter),
            title=f"{self.shown(letter)}: {rule}",
            operation=self.kind,
            rule=rule,
            value=self.chain.values[letter],
            code="optimizer.step()",
            claims=(UpdateClaim(self.chain, letter),),
        )

    def step(self, statement: Statement) -> Step:
        chain, target = self.chain, statement.target.name
        formula = Formula(Plain().statements((statement,)), (statement,))
        read = reads(statement, chain.values)
        arrays = [k for k in read if isinstance(chain.values[k], np.ndarray)]
        names = {k: self.shown(k) for k in (*arrays, target)}
        index = _near(self.telling, chain.values[target].shape)
        instance = formula.instantiate({k: chain.values[k] for k in read}, index)
        instance = replace(instance, digits=_digits(chain, target, index))
        sources = {k: (names[k], chain.values[k]) for k in arrays if chain.values[k].ndim}
        return replace(
            self.blank(target),
            operands=tuple(names.get(k, k) for k in read),
            formula=Symbols(formula),
            named=Symbols(formula, names),
            elements=(Element(index, instance, sources),),
        )


def _digits(chain: Statements, target: str, index: tuple[int, ...]) -> int:
    """How many digits show that a value has changed: 4 of the change, if it has so many."""
    before = chain.given.get(target.removesuffix("′"))
    if target not in chain.kept or not isinstance(before, np.ndarray):
        return 4
    value = abs(float(chain.kept[target][index]))
    change = abs(float(chain.kept[target][index]) - float(before[index]))
    if not 0 < change < value:
        return 4
    most = int(np.ceil(1 + np.log10(2 / finfo(chain.dtype).eps)))  # tell all numbers apart
    return min(4 + int(np.log10(value / change)), most)


def _near(index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The same index in an array of other sizes; of another number of axes, the first element."""
    if len(index) != len(shape):
        return (0,) * len(shape)
    return tuple(min(i, n - 1) for i, n in zip(index, shape, strict=True))
