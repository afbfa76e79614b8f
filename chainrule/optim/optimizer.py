"""What optimisers share: groups of parameters, their state, and the step."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import CheckpointError, CompileError, DTypeError, GradientError
from chainrule.optim.recording import Group, record
from chainrule.tensor import debug, dtypes
from chainrule.tensor.cell import Cell
from chainrule.tensor.graph import OFF, changed, quiet, recording, state
from chainrule.tensor.locate import Explained
from chainrule.tensor.tensor import Tensor

BLOCK = 65536
"""Elements updated at a time: a block of every array that an update touches stays in the cache."""


SMALL = 8192
"""Parameters of fewer elements are updated together, for what a call costs is then more than its
work."""

DECAYED = "g′ = g + λ·w if λ ≠ 0 else g"
"""How most formulas begin: the decay of weights as a part of the gradient."""


class _Bundle:
    """The small parameters of a group as one array, and their running values as parts of one."""

    def __init__(self, params: list[Cell]) -> None:
        small = [p for p in params if p.size < SMALL and p.dtype.kind != "c"]
        alike = len(small) > 1 and len({p.dtype for p in small}) == 1
        self.small = small if alike else []
        self.joined: tuple[str, ...] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> _Bundle:
        # Copies of running values are parts of nothing: they are joined again.
        return _Bundle(copy.deepcopy(self.small, memo))

    def gather(
        self, gradients: list[np.ndarray], states: list[dict[str, Any]], names: tuple[str, ...]
    ) -> None:
        """Copy gradients and weights in; the first time, make the running values parts of one."""
        if self.joined != names or self.weight.dtype != self.small[0].dtype:
            self._join(states, names)
        np.concatenate([g.reshape(-1) for g in gradients], out=self.gradient)
        np.concatenate([p.numpy().reshape(-1) for p in self.small], out=self.weight)

    def _join(self, states: list[dict[str, Any]], names: tuple[str, ...]) -> None:
        ends = np.cumsum([p.size for p in self.small]).tolist()
        cuts = [slice(e - p.size, e) for p, e in zip(self.small, ends, strict=True)]
        self.weight = np.empty(ends[-1], self.small[0].dtype)
        self.gradient = np.empty_like(self.weight)
        self.weights = [
            self.weight[cut].reshape(p.shape) for p, cut in zip(self.small, cuts, strict=True)
        ]
        self.running = [np.concatenate([s[name].reshape(-1) for s in states]) for name in names]
        for name, joined in zip(names, self.running, strict=True):
            for values, p, cut in zip(states, self.small, cuts, strict=True):
                values[name] = joined[cut].reshape(p.shape)
        self.joined = names


def _as_real(array: np.ndarray) -> np.ndarray:
    """The array without its shape; complex numbers as pairs of real ones, as in PyTorch."""
    flat = array.reshape(-1)
    return flat.view(f"f{flat.itemsize // 2}") if flat.dtype.kind == "c" else flat


class Optimizer(Explained):
    """The base of every optimiser. A subclass says how one parameter is updated, as a formula in
    operations (`rule`), which is run or compiled; and where eager speed asks for it a second time,
    in place on blocks of arrays (`update`).

    Args:
        params: parameters, (name, parameter) pairs, or dicts {"params": …, option: value} that
            each form a group with options of its own.
        defaults: the options of groups that do not give them.

    Attributes:
        param_groups: a list of dicts, "params" and the options, which may be changed at any time.
        state: parameter → dict of its running values.
        formula: the update, in the notation of operations' formulas (below).
        letters: what an option, or a running value, is called in it, where that is not its name;
            of an option that is several numbers, a letter for each.
        elementwise: whether an element's update looks at that element alone. Then small parameters
            go together, and complex ones as pairs of real numbers; otherwise `rule` gets the whole
            parameter in its shape.

    The formula is what `explain` shows, and against which, evaluated in float64, it checks the step
    that was taken. It has w, the gradient g, t, which counts the steps from 1, the options, and the
    running values, of which each statement gives a new one: w′ is the new weight, b′ the new b.
    """

    formula: ClassVar[str] = ""
    letters: ClassVar[dict[str, Any]] = {
        "weight_decay": "λ",
        "betas": ("β₁", "β₂"),
        "eps": "ε",
        "momentum": "μ",
        "exp_avg": "m",
        "exp_avg_sq": "v",
        "momentum_buffer": "b",
    }
    elementwise: ClassVar[bool] = True
    update: ClassVar[Any] = None
    """(self, w, g, running, t, u, factors): update a block in place; `t` and `u` are scratch, and
    `g` is not to be written to. None: `rule` is run."""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: dict[Cell, dict[str, Any]] = {}
        self._waiting = 0
        self._scratch: dict[np.dtype, list[np.ndarray]] = {}
        self._bundles: list[_Bundle] = []
        if isinstance(params, Cell) or not isinstance(params, Iterable):
            raise DTypeError("parameters are given as a list: write [p] or model.parameters()")
        given = [params] if isinstance(params, dict) else list(params)
        if not given:
            raise GradientError(
                "there are no parameters to optimise; is model.parameters() used up already, or "
                "does the model hold its layers in a plain list instead of nn.ModuleList?"
            )
        groups: list[Any] = given if isinstance(given[0], dict) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add parameters with options of their own.

        Raises:
            DTypeError: something that is no parameter, or an option out of its range.
            GradientError: a parameter that a group holds already.
        """
        if not isinstance(group, dict) or "params" not in group:
            raise DTypeError('a group of parameters is a dict {"params": …, option: value}')
        params = group["params"]
        params = [params] if isinstance(params, Cell) else list(params)
        params = [p[1] if isinstance(p, tuple) else p for p in params]
        unknown = set(group) - {"params"} - set(self.defaults)
        if unknown:
            raise DTypeError(
                f"{type(self).__name__} has no option {sorted(unknown)[0]!r}; there are "
                f"{', '.join(self.defaults)}"
            )
        held = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Cell):
                raise DTypeError(
                    f"an optimiser updates parameters (nn.Parameter), not {type(p).__name__}"
                )
            if not dtypes.is_float(p.dtype):
                raise DTypeError(f"a parameter of {p.dtype} cannot be optimised")
            if id(p) in held:
                raise GradientError(
                    f"a parameter of shape {p.shape} was given twice; each is updated once a step"
                )
            self._check_parameter(p)
            held.add(id(p))
        merged = {**self.defaults, **{k: v for k, v in group.items() if k != "params"}}
        self._check(merged)
        changed()
        self.param_groups.append(Group({"params": params, **merged}))
        self._bundles.append(_Bundle(params if self.elementwise else []))

    def _check_parameter(self, p: Cell) -> None:
        """Refuse a parameter that it has no rule for."""
        if p.dtype.kind == "c" and not self.elementwise:
            raise DTypeError(
                f"{type(self).__name__} looks at a parameter as a whole, and has no rule for "
                f"complex ones; this one is {p.dtype}. Adam and its like have."
            )

    def _check(self, options: dict[str, Any]) -> None:
        for name in ("lr", "weight_decay", "eps", "momentum", "dampening"):
            value = options.get(name, 0.0)
            if not isinstance(value, Real) or not 0 <= float(value) < float("inf"):
                raise DTypeError(f"{name} is a number of at least 0, not {value!r}")
        betas = options.get("betas", (0.0, 0.0))
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise DTypeError(f"betas are two numbers, not {betas!r}")
        alpha = options.get("alpha", 0.0)
        for name, value in (("betas", betas[0]), ("betas", betas[1]), ("alpha", alpha)):
            if not isinstance(value, Real) or not 0 <= float(value) < 1:
                raise DTypeError(f"{name} lies in [0, 1), and {value!r} does not")

    def step(self, *, every: int = 1) -> None:
        """Apply the gradients, then clear them.

        Args:
            every: apply only on each `every`-th call, then the mean of what was added up.

        Raises:
            GradientError: no parameter has a gradient: backward() was not called.
        """
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise DTypeError(f"every is a whole number of at least 1, not {every!r}")
        if state.tracer is not None:
            state.tracer.remember(self, "_waiting")
        if every > 1 or self._waiting:
            changed()
        self._waiting += 1
        if self._waiting < every:
            return
        count, self._waiting = self._waiting, 0
        if state.tracer is not None:
            found = record(self, state.tracer, count)
        else:
            changed()
            if debug.watchers:
                debug.watched("stepping", self)
            found = self._step(count)
            if debug.watchers:
                debug.watched("stepped", self)
        if not found:
            raise GradientError(
                "no parameter has a gradient. Call loss.backward() before step(); does the loss "
                "depend on these parameters, and do they require gradients?"
            )

    def _step(self, count: int) -> bool:
        """Update the parameters that have a gradient, in place; whether there were any."""
        found = False
        with quiet():
            for group, bundle in zip(self.param_groups, self._bundles, strict=True):
                found = self._apply_bundle(bundle, group, count) or found
                for p in group["params"]:
                    gradient = p._grad
                    if gradient is None:
                        continue
                    found = True
                    g = gradient._concrete("a step")
                    if count > 1:
                        g = g / g.dtype.type(count)
                    self._apply(p, g, group)
                    p._grad = None
        return found

    def _state_of(self, p: Cell, group: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
        """Its running values; an option changed on the way adds some, from 0, or drops some."""
        state = self.state.get(p)
        if state is None:
            state = self.state[p] = {"step": 0, "units": self.units(group)}
        if tuple(state)[2:] != names:
            kept = {name: state.get(name) for name in ("step", "units", *names)}
            state = self.state[p] = {
                k: self.begin(k, p, group) if v is None else v for k, v in kept.items()
            }
        return state

    def _apply_bundle(self, bundle: _Bundle, group: dict[str, Any], count: int) -> bool:
        """Update the small parameters as one array; False where they do not go together now."""
        found = [None if p._grad is None else p._grad._value for p in bundle.small]
        gradients = [g for g in found if g is not None]
        if not gradients or len(gradients) < len(found):
            return False
        names = self.running(group)
        states = [self._state_of(p, group, names) for p in bundle.small]
        step = states[0]["step"]
        if any(state["step"] != step for state in states):
            return False
        bundle.gather(gradients, states, names)
        for values in states:
            values["step"] = step + 1
        if count > 1:
            bundle.gradient /= count
        factors = self.factors(step + 1, group, states[0]["units"])
        self._update(bundle.weight, bundle.gradient, bundle.running, group, factors)
        for p, weight in zip(bundle.small, bundle.weights, strict=True):
            p.storage()[...] = weight
            p._grad = None
        return True

    def _apply(self, p: Cell, g: np.ndarray, group: dict[str, Any]) -> None:
        names = self.running(group)
        state = self._state_of(p, group, names)
        state["step"] += 1
        factors = self.factors(state["step"], group, state["units"])
        arrays = [state[name] for name in names]
        if self.elementwise:
            flat = [_as_real(a) for a in arrays]
            self._update(_as_real(p.storage()), _as_real(g), flat, group, factors)
            return
        self._run(p.storage(), -g if group.get("maximize") else g, arrays, group, factors)

    def _run(
        self,
        weight: np.ndarray,
        g: np.ndarray,
        arrays: list[np.ndarray],
        group: dict[str, Any],
        factors: Any,
    ) -> None:
        """Update by `rule`."""
        with recording(OFF):
            new, values = self.rule(
                Tensor(weight), Tensor(g), [Tensor(a) for a in arrays], factors, group
            )
        weight[...] = new.numpy()
        for array, value in zip(arrays, values, strict=True):
            array[...] = value.numpy()

    def _update(
        self,
        weight: np.ndarray,
        g: np.ndarray,
        arrays: list[np.ndarray],
        group: dict[str, Any],
        factors: Any,
    ) -> None:
        """Update flat arrays block by block."""
        if group.get("maximize"):
            g = -g
        if self.update is None:
            for start in range(0, len(weight), BLOCK):
                cut = slice(start, start + BLOCK)
                self._run(weight[cut], g[cut], [a[cut] for a in arrays], group, factors)
            return
        first, second = self._scratch_for(weight.dtype, min(len(weight), BLOCK))
        for start in range(0, len(weight), BLOCK):
            cut = slice(start, start + BLOCK)
            w = weight[cut]
            self.update(
                w, g[cut], [a[cut] for a in arrays], first[: len(w)], second[: len(w)], factors
            )

    def _scratch_for(self, dtype: np.dtype, size: int) -> list[np.ndarray]:
        arrays = self._scratch.get(dtype)
        if arrays is None or len(arrays[0]) < size:
            arrays = self._scratch[dtype] = [np.empty(size, dtype) for _ in range(2)]
        return arrays

    def running(self, group: dict[str, Any]) -> tuple[str, ...]:
        """What is kept of a parameter from step to step: names of arrays."""
        return ()

    def begin(self, name: str, p: Cell, group: dict[str, Any]) -> np.ndarray:
        """The first value of a running array."""
        return np.zeros(p.shape, p.dtype)

    def units(self, group: dict[str, Any]) -> dict[str, float]:
        """In what unit a running value is kept, where that spares work at every step.

        `state_dict` gives and takes the values themselves.
        """
        return {}

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        """What of an update is the same for every element of a parameter."""
        raise NotImplementedError

    def rule(
        self,
        w: Tensor,
        g: Tensor,
        running: list[Tensor],
        factors: Sequence[Tensor],
        group: dict[str, Any],
    ) -> tuple[Tensor, list[Tensor]]:
        """(new weight, new running values), in operations: what `update` does in place.

        The factors are numbers, or tensors while it is compiled. Of `group` only flags, whole
        numbers and names are read, and whether a number is 0.

        Raises:
            CompileError: the optimiser does not say how.
        """
        raise CompileError(
            f"{type(self).__name__} does not say in operations (`rule`) how it updates, which is "
            "what is compiled. Call step() outside of the compiled function."
        )

    def equations(self, p: Cell, group: dict[str, Any], step: int) -> str:
        """The formula for a parameter of this shape, under these options, at this step.

        A statement that gives a new value to one of `symbols` states what that has to be.
        """
        return self.formula

    def as_seen(self, array: np.ndarray) -> np.ndarray:
        """A weight, gradient or running value as `equations` sees it: complex numbers are updated
        as pairs of real ones."""
        if array.dtype.kind != "c":
            return array
        pairs = np.ascontiguousarray(array).view(f"f{array.itemsize // 2}")
        return pairs.reshape(*array.shape, 2)

    def symbols(self, p: Cell, group: dict[str, Any], step: int) -> dict[str, Any]:
        """What the letters of `equations` stand for that are neither w, g nor running values."""
        found: dict[str, Any] = {"t": step}
        for name, value in group.items():
            letter = self.letters.get(name, name)
            if isinstance(letter, tuple):
                found |= zip(letter, value, strict=True)
            elif name != "params":
                found[letter] = value
        return found

    def zero_grad(self) -> None:
        """Forget the gradients without applying them."""
        if state.tracer is not None:
            state.tracer.remember(self, "_waiting")
        self._waiting = 0
        for p in self._all():
            if state.tracer is not None:
                state.tracer.touch(p)
            p._grad = None
        changed()
        if debug.watchers:
            debug.watched("cleared", self)

    def state_dict(self) -> dict[str, Any]:
        """A copy of options and running values, laid out as PyTorch's, arrays as NumPy's."""
        numbers = {id(p): i for i, p in enumerate(self._all())}
        state = {}
        for group in self.param_groups:
            names = self.running(group)
            for p in filter(self.state.__contains__, group["params"]):
                values = self._state_of(p, group, names)
                state[numbers[id(p)]] = {
                    "step": values["step"],
                    **{k: values[k] * p.dtype.type(values["units"].get(k, 1.0)) for k in names},
                }
        groups = [
            {**group, "params": [numbers[id(p)] for p in group["params"]]}
            for group in self.param_groups
        ]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over options and running values, of the same number and shapes of parameters.

        Raises:
            CheckpointError: groups, parameters or shapes differ; nothing is changed then.
        """
        if not isinstance(state_dict, dict) or not {"state", "param_groups"} <= set(state_dict):
            raise CheckpointError('an optimiser\'s state is {"state": …, "param_groups": …}')
        groups = state_dict["param_groups"]
        sizes = [len(g["params"]) for g in groups], [len(g["params"]) for g in self.param_groups]
        if sizes[0] != sizes[1]:
            raise CheckpointError(
                f"the saved groups hold {sizes[0]} parameters, and this optimiser's {sizes[1]}"
            )
        options = [{k: v for k, v in g.items() if k in self.defaults} for g in groups]
        merged = [{**g, **o} for g, o in zip(self.param_groups, options, strict=True)]
        for group in merged:
            self._check(group)
        loaded: dict[Cell, dict[str, Any]] = {}
        pairs = [(p, group) for group in merged for p in group["params"]]
        known = {str(i): pair for i, pair in enumerate(pairs)}
        for number, values in state_dict["state"].items():
            if str(number) not in known:
                raise CheckpointError(f"there is no parameter {number} among {len(known)}")
            p, group = known[str(number)]
            units = self.units(group)
            expected: dict[str, Any] = {"step": 0}
            expected |= {name: self.begin(name, p, group) for name in self.running(group)}
            if set(expected) != set(values):
                raise CheckpointError(
                    f"parameter {number} was saved with {sorted(values)}, and "
                    f"{type(self).__name__} keeps {sorted(expected)}"
                )
            for key, value in values.items():
                if key == "step":
                    expected[key] = int(np.asarray(value))
                    continue
                array = np.asarray(value)
                if array.shape != expected[key].shape:
                    raise CheckpointError(
                        f"{key} of parameter {number} was saved as {array.shape}, and it is "
                        f"{expected[key].shape} for a parameter of {p.shape}"
                    )
                expected[key][...] = array / units.get(key, 1.0)
            loaded[p] = {"step": expected.pop("step"), "units": units, **expected}
        changed()
        self.state = loaded
        for bundle in self._bundles:
            bundle.joined = None
        for group, saved in zip(self.param_groups, options, strict=True):
            group.update(saved)

    def _all(self) -> list[Cell]:
        return [p for group in self.param_groups for p in group["params"]]

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ({self.formula})"]
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{k}={v}" for k, v in group.items() if k != "params")
            lines.append(f"  group {i}: {len(group['params'])} parameters, {options}")
        return "\n".join(lines)
