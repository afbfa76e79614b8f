"""One prediction among those of a loss: −log p of its target, and what the loss makes of it."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from chainrule.lens.explain.derivation import Step
from chainrule.lens.explain.record import Recorded
from chainrule.lens.explain.remark import Remark, remarked
from chainrule.lens.explain.statement import Recomputed, stated
from chainrule.lens.explain.steps.forward import forward_step, largest_finite
from chainrule.lens.explain.steps.opening import inside
from chainrule.ops.notation import parse
from chainrule.probability.assumed import Assumption
from chainrule.probability.distribution import Distribution
from chainrule.tensor import dtypes
from chainrule.tensor.graph import FULL, quiet, reachable, recording
from chainrule.tensor.tensor import Tensor


class Prediction:
    """One prediction among those of a loss.

    Args:
        recorded: the network as it ran.
        assumption: the call of the loss, in float64.
        made: the distribution that it assumes, for all predictions.
        at: which of them.
        loss: what the loss is for this one.
    """

    def __init__(
        self,
        recorded: Recorded,
        assumption: Assumption,
        made: Distribution,
        at: tuple[int, ...],
        loss: float,
    ) -> None:
        self.recorded, self.assumption, self.made = recorded, assumption, made
        self.at, self.loss = at, loss
        self.target = assumption.target.numpy()
        given = recorded.assumptions[-1].outputs
        self.operands = ("the output" if given is None else recorded.names.of(given._value),)

    @cached_property
    def logs(self) -> Tensor:
        """log p of every target, with the operations that led to it."""
        with recording(FULL), quiet():
            return self.made.log_prob(self.assumption.target)

    @cached_property
    def valid(self) -> np.ndarray:
        """Which targets are values that the distribution may take; a label that is left out of
        account is none."""
        if self.target.ndim < len(self.made.event_shape + self.made.batch_shape):
            return np.zeros(self.made.batch_shape, bool)
        return np.broadcast_to(
            self.made.support.contains(self.assumption.target).numpy(), self.made.batch_shape
        )

    @cached_property
    def surprisals(self) -> np.ndarray:
        return -self.logs.numpy()

    # Any distribution

    def steps(self, of: str) -> list[Step]:
        """The parameters, the target, −log p, and p."""
        steps = [self._parameter(name, of) for name in self.made.parameters]
        x = np.asarray(self.target[self.at])
        steps.append(
            Step("y", f"y = the target of {of}", rule="given", value=x,
                 claims=(Recomputed("element of the target", x.copy(), 0.0),))
        )  # fmt: skip
        known = {step.name: np.asarray(step.value) for step in steps[:-1]} | {"x": x}
        if "loc" in known and x.ndim == 0:
            both = {"x": x, "loc": known["loc"]}
            title = "residual = target − location"
            steps.append(stated("residual", title, "x − loc", both, names={"x": "y"}))
        surprisal = np.asarray(self.surprisals[self.at])
        if self._has_formula(known, surprisal):
            steps.append(
                stated("−log p", f"−log p(y) of the {type(self.made).__name__} distribution",
                       self.made.surprisal, known, value=surprisal, rule="negative log-likelihood",
                       names={"x": "y"}, digits=6)
            )  # fmt: skip
        else:
            steps += self._by_operations(surprisal)
        what = "probability" if self.made.support.discrete else "density"
        steps.append(
            stated("p(y)", f"p(y), the {what} of the target", "exp(−s)", {"s": surprisal},
                   value=np.asarray(np.exp(-surprisal)), names={"s": "−log p"})
        )  # fmt: skip
        return steps

    def _has_formula(self, known: dict[str, np.ndarray], surprisal: np.ndarray) -> bool:
        """Whether −log p was written down, in a form that float64 can evaluate here."""
        if not self.made.surprisal or any(v.ndim for v in known.values()):
            return False
        found = parse(self.made.surprisal).evaluate(known, ())
        return bool(np.isfinite(found) == np.isfinite(surprisal))

    def _parameter(self, name: str, of: str) -> Step:
        """A parameter of the distribution, as it was in the dtype that ran."""
        value = np.asarray(getattr(self.made, name).numpy()[self.at])
        ran = self.recorded.assumptions[-1].distribution
        other = np.asarray(getattr(ran, name).numpy()[self.at]).astype(np.float64)
        eps = float(np.finfo(ran.dtype).eps) if dtypes.is_float(ran.dtype) else 0.0
        bound = 64 * eps * float(np.abs(other).max(initial=0.0))
        return Step(
            name, f"{name} of the {type(self.made).__name__} distribution for {of}",
            operands=self.operands, rule="the output as a parameter", value=value,
            claims=(Recomputed("in the dtype that ran", other, bound),),
        )  # fmt: skip

    def _by_operations(self, surprisal: np.ndarray) -> list[Step]:
        """log p by the operations that compute it, where no formula was written down."""
        assert self.logs._node is not None
        nodes = [node for node in reachable([self.logs._node]) if node.op is not None]
        for node in nodes:
            node.place, node.scope = None, None
        inner = inside(self.recorded, nodes, "log p")
        for name, parameter in self.made.parameters.items():
            inner.names.call(parameter._value, name)
        inner.names.call(self.assumption.target._value, "y")
        steps = [forward_step(inner, node) for node in nodes]
        last = inner.name(nodes[-1])
        shown = stated(
            "−log p", "−log p(y): the element of this prediction", "−l",
            {"l": self.logs.numpy()[self.at]}, value=surprisal, names={"l": last},
        )  # fmt: skip
        return [*steps, shown]

    # What the loss makes of it

    @property
    def constant(self) -> float:
        """What the loss leaves out of −log p, for this prediction."""
        return float(parse(self.assumption.constant).evaluate({"x": self.target[self.at]}, ()))

    def loss_steps(self) -> list[Step]:
        """The loss of this prediction beside −log p."""
        scale, constant = self.assumption.scale, self.assumption.constant
        surprisal = float(self.surprisals[self.at])
        expected = scale * (surprisal - self.constant)
        if not math.isclose(self.loss, expected, rel_tol=1e-9, abs_tol=1e-12):
            return [self._unlike(surprisal, expected)]
        inner = "s" if constant == "0" else f"(s − {_factor(constant)})"
        formula = inner if scale == 1 else f"{scale:g} · {inner}"
        known = {"s": surprisal, "x": self.target[self.at]}
        operands = {name: known[name] for name in "sx" if name in parse(formula).names}
        return [
            stated("loss", f"{self.assumption.name} of this prediction, from −log p", formula,
                   operands, value=np.asarray(self.loss), names={"s": "−log p", "x": "y"},
                   rule="negative log-likelihood", digits=6)
        ]  # fmt: skip

    def _unlike(self, surprisal: float, expected: float) -> Step:
        """A loss that is more than the likelihood: weighted, smoothed, or of an ignored label."""
        value = np.asarray(self.loss)
        step = Step(
            "loss", f"{self.assumption.name} of this prediction", operands=("−log p",),
            rule="the loss by itself", value=value,
            claims=(Recomputed("the loss run again",
                               np.asarray(self.assumption.losses.numpy()[self.at]), 0.0),),
        )  # fmt: skip
        text = "this is not the likelihood's {}: the loss weights, smooths or ignores labels"

        def again(y: np.ndarray) -> tuple[float, ...]:
            return (self.assumption.scale * (float(self.surprisals[self.at]) - self.constant),)

        return remarked(step, Remark(text, (expected,), again))

    @cached_property
    def left_out(self) -> np.ndarray:
        """What the loss leaves out of −log p, for every target that counts."""
        formula = parse(self.assumption.constant)
        each = formula.evaluate({"x": self.target}, self.target.shape)
        return np.broadcast_to(each, self.target.shape).reshape(*self.made.batch_shape, -1)[..., 0][
            self.valid
        ]

    @property
    def count(self) -> int:
        """What the sum over the predictions is divided by."""
        return 1 if self.assumption.arguments.get("reduction") == "sum" else int(self.valid.sum())

    def likelihood_steps(self) -> list[Step]:
        """The product over all predictions as a sum of logarithms; what the loss is of it."""
        logs = -self.surprisals[self.valid]
        total = np.asarray(math.fsum(logs))
        steps = [
            stated(
                "log p(all)", f"log Π p(y): the sum of {logs.size} logarithms",
                "Σ_n l[n]", {"l": logs}, value=total, names={"l": "log p"},
                rule="the logarithm of a product is a sum of logarithms", digits=6,
            ),
            stated("p(all)", "Π p(y), the likelihood of all targets", "exp(l)", {"l": total},
                   names={"l": "log p(all)"}, notes=_underflow(total)),
        ]  # fmt: skip
        result = self.recorded.result.value
        if result is None or result.shape:
            return steps
        return [*steps, self._mean(logs, result)]

    def _mean(self, logs: np.ndarray, result: np.ndarray) -> Step:
        """The loss that training makes small, from the likelihood that it makes large."""
        k, text, n = self.assumption.scale, self.assumption.constant, self.count
        c = float(self.left_out.sum()) / n
        expected = k * (-float(logs.sum()) / n - c)
        bound = self._rounding(result.dtype) * logs.size / n
        if not abs(float(result) - expected) <= bound:
            return self._more_than_likelihood(result, expected)
        formula = "−l / n" if text == "0" else "(−l / n − c)" if k != 1 else "−l / n − c"
        formula = formula if k == 1 else f"k · {formula}"
        known = {"k": k, "l": np.asarray(logs.sum()), "n": n, "c": c}
        return stated(
            "L(all)", "the loss that training makes small: the likelihood is made large",
            formula, {name: known[name] for name in "klnc" if name in parse(formula).names},
            names={"l": "log p(all)"}, digits=6,
            rule="to minimise the loss is to maximise the likelihood",
            notes=() if text == "0" else (f"c is the mean of what the loss leaves out: {text}.",),
            claims=(Recomputed("the loss as it ran", result, bound),),
        )  # fmt: skip

    def _rounding(self, dtype: np.dtype) -> float:
        """What rounding may put one prediction's loss off: a few units in the last place of the
        largest number on the way, be it a logit that another is subtracted from."""
        given = self.assumption.outputs
        found = [self.surprisals[self.valid], *([] if given is None else [given.numpy()])]
        return 64 * float(np.finfo(dtype).eps) * max(1.0, *map(largest_finite, found))

    def _more_than_likelihood(self, result: np.ndarray, expected: float) -> Step:
        """A loss that is not the likelihood alone."""
        step = Step(
            "L(all)", "the loss as it ran", rule="the loss as it ran", operands=("log p(all)",),
            value=result, claims=(Recomputed("the forward pass", result.copy(), 0.0),),
        )  # fmt: skip
        text = (
            "the likelihood alone would give {}: the loss weights, smooths, ignores labels or has "
            "further terms"
        )

        def again(y: np.ndarray) -> tuple[float, ...]:
            each = self.surprisals[self.valid] - self.left_out
            return (self.assumption.scale * math.fsum(each) / self.count,)

        return remarked(step, Remark(text, (expected,), again))


def _factor(text: str) -> str:
    """A formula in brackets where it is subtracted."""
    return f"({text})" if any(sign in text for sign in "+−") else text


def _underflow(total: np.ndarray) -> tuple[str, ...]:
    if math.exp(float(total)) > 0:
        return ()
    return ("As a product it is too small for float64; its logarithm is not.",)
