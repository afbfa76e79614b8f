"""What optimisers share: groups of parameters, their state, and the step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import CheckpointError, DTypeError, GradientError
from chainrule.tensor import dtypes
from chainrule.tensor.cell import Cell
from chainrule.tensor.graph import quiet

BLOCK = 65536
"""Elements updated at a time: a block of every array that an update touches stays in the cache."""


SMALL = 8192
"""Parameters of fewer elements are updated together, for what a call costs is then more than its
work."""


class _Bundle:
    """The small parameters of a group as one array, and their running values as parts of one."""

    def __init__(self, params: list[Cell]) -> None:
        small = [p for p in params if p.size < SMALL]
        alike = len(small) > 1 and len({p.dtype for p in small}) == 1
        self.small = small if alike else []
        self.joined = False

    def gather(self, gradients: list[np.ndarray], states: list[dict[str, Any]]) -> None:
        """Copy gradients and weights in; the first time, make the running values parts of one."""
        if not self.joined or self.weight.dtype != self.small[0].dtype:
            self._join(states)
        np.concatenate([g.reshape(-1) for g in gradients], out=self.gradient)
        np.concatenate([p.numpy().reshape(-1) for p in self.small], out=self.weight)

    def _join(self, states: list[dict[str, Any]]) -> None:
        ends = np.cumsum([p.size for p in self.small]).tolist()
        cuts = [slice(e - p.size, e) for p, e in zip(self.small, ends, strict=True)]
        self.weight = np.empty(ends[-1], self.small[0].dtype)
        self.gradient = np.empty_like(self.weight)
        self.weights = [
            self.weight[cut].reshape(p.shape) for p, cut in zip(self.small, cuts, strict=True)
        ]
        names = [name for name, value in states[0].items() if isinstance(value, np.ndarray)]
        self.running = [np.concatenate([s[name].reshape(-1) for s in states]) for name in names]
        for name, joined in zip(names, self.running, strict=True):
            for state, p, cut in zip(states, self.small, cuts, strict=True):
                state[name] = joined[cut].reshape(p.shape)
        self.joined = True


class Optimizer:
    """The base of every optimiser. A subclass says how one parameter is updated.

    Args:
        params: parameters, (name, parameter) pairs, or dicts {"params": …, option: value} that
            each form a group with options of its own.
        defaults: the options of groups that do not give them.

    Attributes:
        param_groups: a list of dicts, "params" and the options, which may be changed at any time.
        state: parameter → dict of its running values.
        formula: the update rule, as text.
    """

    formula: ClassVar[str] = ""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Cell, dict[str, Any]] = {}
        self._waiting = 0
        self._scratch: dict[np.dtype, list[np.ndarray]] = {}
        self._bundles: list[_Bundle] = []
        given = [params] if isinstance(params, (Cell, dict)) else list(params)
        if isinstance(params, Cell):
            raise DTypeError("parameters are given as a list: write [p] or model.parameters()")
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
            held.add(id(p))
        merged = {**self.defaults, **{k: v for k, v in group.items() if k != "params"}}
        self._check(merged)
        self.param_groups.append({"params": params, **merged})
        self._bundles.append(_Bundle(params))

    def _check(self, options: dict[str, Any]) -> None:
        for name in ("lr", "weight_decay", "eps", "momentum"):
            value = options.get(name, 0.0)
            if not isinstance(value, (int, float)) or not value >= 0 or value == float("inf"):
                raise DTypeError(f"{name} is a number of at least 0, not {value!r}")
        for beta in options.get("betas", ()):
            if not 0 <= beta < 1:
                raise DTypeError(f"betas lie in [0, 1), and {beta} does not")

    def step(self, *, every: int = 1) -> None:
        """Apply the gradients, then clear them.

        Args:
            every: apply only on each `every`-th call, then the mean of what was added up.

        Raises:
            GradientError: no parameter has a gradient: backward() was not called.
        """
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise DTypeError(f"every is a whole number of at least 1, not {every!r}")
        self._waiting += 1
        if self._waiting < every:
            return
        count, self._waiting = self._waiting, 0
        found = False
        with quiet():
            for group, bundle in zip(self.param_groups, self._bundles, strict=True):
                found = self._apply_bundle(bundle, group, count) or found
                for p in group["params"]:
                    gradient = p._grad
                    if gradient is None:
                        continue
                    found = True
                    g = gradient._value
                    if g is None:
                        raise GradientError("a gradient that is being traced cannot be applied")
                    if count > 1:
                        g = g / g.dtype.type(count)
                    self._apply(p, g, group)
                    p._grad = None
        if not found:
            raise GradientError(
                "no parameter has a gradient. Call loss.backward() before step(); does the loss "
                "depend on these parameters, and do they require gradients?"
            )

    def _state_of(self, p: Cell, group: dict[str, Any]) -> dict[str, Any]:
        state = self.state.get(p)
        if state is None:
            state = self.state[p] = {**self.initial(p, group), "units": self.units(group)}
        return state

    def _apply_bundle(self, bundle: _Bundle, group: dict[str, Any], count: int) -> bool:
        """Update the small parameters as one array; False where they do not go together now."""
        found = [None if p._grad is None else p._grad._value for p in bundle.small]
        gradients = [g for g in found if g is not None]
        if not gradients or len(gradients) < len(found):
            return False
        states = [self._state_of(p, group) for p in bundle.small]
        step = states[0]["step"]
        if any(state["step"] != step for state in states):
            return False
        bundle.gather(gradients, states)
        for state in states:
            state["step"] = step + 1
        if count > 1:
            bundle.gradient /= count
        factors = self.factors(step + 1, group, states[0]["units"])
        self._update(bundle.weight, bundle.gradient, bundle.running, group, factors)
        for p, weight in zip(bundle.small, bundle.weights, strict=True):
            p.storage()[...] = weight
            p._grad = None
        return True

    def _apply(self, p: Cell, g: np.ndarray, group: dict[str, Any]) -> None:
        state = self._state_of(p, group)
        state["step"] += 1
        arrays = [a.reshape(-1) for a in state.values() if isinstance(a, np.ndarray)]
        factors = self.factors(state["step"], group, state["units"])
        self._update(p.storage().reshape(-1), g.reshape(-1), arrays, group, factors)

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

    def initial(self, p: Cell, group: dict[str, Any]) -> dict[str, Any]:
        """The running values before the first step: {"step": 0, name: array …}."""
        return {"step": 0}

    def units(self, group: dict[str, Any]) -> dict[str, float]:
        """In what unit a running value is kept, where that spares work at every step.

        `state_dict` gives and takes the values themselves.
        """
        return {}

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        """What of an update is the same for every element of a parameter."""
        raise NotImplementedError

    def update(
        self,
        w: np.ndarray,
        g: np.ndarray,
        running: list[np.ndarray],
        t: np.ndarray,
        u: np.ndarray,
        factors: Any,
    ) -> None:
        """Update a block in place; `t` and `u` are scratch, `g` is not to be written to."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget the gradients without applying them."""
        self._waiting = 0
        for group in self.param_groups:
            for p in group["params"]:
                p._grad = None

    def state_dict(self) -> dict[str, Any]:
        """A copy of options and running values, laid out as PyTorch's, arrays as NumPy's."""
        numbers = {id(p): i for i, p in enumerate(self._all())}
        state = {
            numbers[id(p)]: {
                k: v if k == "step" else v * v.dtype.type(values["units"].get(k, 1.0))
                for k, v in values.items()
                if k != "units"
            }
            for p, values in self.state.items()
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
        parameters = self._all()
        groups = state_dict["param_groups"]
        sizes = [len(g["params"]) for g in groups], [len(g["params"]) for g in self.param_groups]
        if sizes[0] != sizes[1]:
            raise CheckpointError(
                f"the saved groups hold {sizes[0]} parameters, and this optimiser's {sizes[1]}"
            )
        loaded: dict[Cell, dict[str, Any]] = {}
        for number, values in state_dict["state"].items():
            p = parameters[int(number)]
            units = self.units(self._group_of(p))
            expected = self.initial(p, self._group_of(p))
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
                if array.shape != p.shape:
                    raise CheckpointError(
                        f"{key} of parameter {number} was saved as {array.shape}, and the "
                        f"parameter is {p.shape}"
                    )
                expected[key][...] = array / units.get(key, 1.0)
            loaded[p] = {**expected, "units": units}
        self.state = loaded
        for bundle in self._bundles:
            bundle.joined = False
        for group, saved in zip(self.param_groups, groups, strict=True):
            group.update({k: v for k, v in saved.items() if k in self.defaults})

    def _all(self) -> list[Cell]:
        return [p for group in self.param_groups for p in group["params"]]

    def _group_of(self, p: Cell) -> dict[str, Any]:
        return next(g for g in self.param_groups if any(q is p for q in g["params"]))

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ({self.formula})"]
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{k}={v}" for k, v in group.items() if k != "params")
            lines.append(f"  group {i}: {len(group['params'])} parameters, {options}")
        return "\n".join(lines)
