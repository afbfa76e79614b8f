"""Optimisers in functions that are compiled: options that are watched, and a step as operations.

What an update computes with (weights, gradients, running values) is traced. The numbers that are
the same for every element (the learning rate, bias corrections) are computed by the host before
each call, so that a schedule or a changed option asks for no new trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from chainrule.errors import CompileError
from chainrule.tensor.cell import Cell
from chainrule.tensor.graph import OFF, changed, recording, state
from chainrule.tensor.tensor import Tensor

if TYPE_CHECKING:
    from chainrule.optim.optimizer import Optimizer


class Group(dict[str, Any]):
    """The parameters of a group and its options, which may be changed at any time.

    A flag, a whole number or a name that changes, or a number that becomes 0 or is 0 no more, may
    change which update is made, and is noted for compiled functions; they read all other numbers at
    each call.
    """

    def __getitem__(self, key: str) -> Any:
        if state.tracer is not None and key != "params":
            self._refuse(key, "read", "would stay what it is now")
        return super().__getitem__(key)

    def __setitem__(self, key: str, value: Any) -> None:
        if state.tracer is not None:
            self._refuse(key, "set", "would not be set at later calls")
        if key not in self or _form(self.get(key)) != _form(value):
            changed()
        super().__setitem__(key, value)

    def update(self, *args: Any, **options: Any) -> None:
        for key, value in dict(*args, **options).items():
            self[key] = value

    def _refuse(self, key: str, what: str, why: str) -> None:
        raise CompileError(
            f"an optimiser's option {key!r} is {what} by a function while it is compiled, and "
            f"{why}. Do it outside of the function; a schedule's step() may be inside."
        )


def _form(option: Any) -> Any:
    """What of an option decides by which formula is updated: of a float, whether it is 0."""
    if isinstance(option, (tuple, list)):
        return tuple(map(_form, option))
    return bool(option) if isinstance(option, Real) and not isinstance(option, int) else option


class _Numbers:
    """The factors of the parameters that have done equally many steps, computed at each call."""

    def __init__(self, optimizer: Optimizer, group: dict[str, Any], tracer: Any) -> None:
        self.optimizer, self.group = optimizer, group
        self.states: list[dict[str, Any]] = []
        self.indices: Sequence[int] = ()
        tracer.guards.append(self.hold)

    def of(self, p: Cell, values: dict[str, Any], tracer: Any) -> list[Tensor]:
        """The factors as numbers of the parameter's dtype."""
        optimizer, arrays = self.optimizer, list(values.items())[2:]
        if not self.states:
            options = dict(self.group)
            count = len(optimizer.factors(values["step"] + 1, options, values["units"]))
            self.indices = tracer.numbers(self.compute, self.revert, count)
        self.states.append(values)

        def same() -> bool:
            now = optimizer.state.get(p)
            return now is values and all(values.get(name) is array for name, array in arrays)

        tracer.guards.append(same)
        return [tracer.scalar(i, p.dtype) for i in self.indices]

    def compute(self) -> Sequence[float]:
        """Count a step on, and give its factors."""
        first = self.states[0]
        step = first["step"] + 1
        for values in self.states:
            values["step"] = step
        return self.optimizer.factors(step, self.group, first["units"])

    def revert(self) -> None:
        """Take the step back."""
        for values in self.states:
            values["step"] -= 1

    def hold(self) -> bool:
        """Whether they still have done equally many."""
        step = self.states[0]["step"]
        return all(values["step"] == step for values in self.states)


def record(optimizer: Optimizer, tracer: Any, count: int) -> bool:
    """A step as operations, with the mean of `count` gradients; whether there were any."""
    numbers: dict[Any, _Numbers] = {}
    structure = _structure(optimizer)
    tracer.guards.append(lambda: _structure(optimizer) == structure)
    found = False
    for group in optimizer.param_groups:
        options = dict(group)
        names = optimizer.running(options)
        for p in options["params"]:
            gradient = p.grad
            if gradient is None:
                continue
            found = True
            if p.dtype.kind == "c":
                raise CompileError(
                    f"a step that updates a complex parameter ({p.dtype}, of shape {p.shape}) is "
                    "not compiled. Call step() outside of the compiled function."
                )
            if p not in optimizer.state:
                tracer.undo.append(lambda p=p: optimizer.state.pop(p, None))
            values = optimizer._state_of(p, options, names)
            alike = id(group), values["step"], tuple(values["units"].items())
            if alike not in numbers:
                numbers[alike] = _Numbers(optimizer, group, tracer)
            factors = numbers[alike].of(p, values, tracer)
            arrays = [values[name] for name in names]
            with recording(OFF):
                pairs = zip(arrays, names, strict=True)
                running = [tracer.variable(a, p, name) for a, name in pairs]
                g = -gradient if options.get("maximize") else gradient
                g = g / count if count > 1 else g
                w, new = optimizer.rule(tracer.lift(p), g, running, factors, options)
                p.assign(w)
            for array, value in zip(arrays, new, strict=True):
                tracer.set_variable(array, value)
            p.grad = None
    return found


def _structure(optimizer: Optimizer) -> Any:
    """What decides which parameters are updated, and by which formula."""
    return [
        (
            [id(p) for p in group["params"]],
            [_form(v) for k, v in group.items() if k != "params"],
        )
        for group in optimizer.param_groups
    ]
