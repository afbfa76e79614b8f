"""output-activation: the output layer cannot give the numbers that the loss wants."""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, inf, log

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import PROBE_ROWS, Case
from chainrule.lens.diagnose.finding import Change, Finding, Measured
from chainrule.lens.diagnose.head import SOFTMAXES, Head, classes_of, compares_elements, head_of
from chainrule.lens.diagnose.rules.rule import Rule
from chainrule.lens.diagnose.severity import weighed

CONSEQUENCES = (
    "dead-units", "saturated-units", "vanishing-gradients", "target-scale", "too-few-steps",
    "learning-rate-too-low", "not-learning", "capacity-too-small", "unreached-parameters",
    "non-finite", "input-scale", "model-error", "exploding-gradients", "learning-rate-too-high",
    "bad-initialisation",
)  # fmt: skip
COSTS = 0.05
"""The share of the targets' variance that can never be learnt, above which it is an error."""


class OutputActivation(Rule):
    """An activation of the range [a, b] leaves at least mean(dist(y, [a, b])²) of squared error."""

    name = "output-activation"
    stage = "static"
    looks_at = "whether the range of the output activation contains the targets"

    def look(self, case: Case) -> Iterable[Finding]:
        head = head_of(case)
        if head is None:
            return
        for found in (self._constant(case, head), self._range(case, head), self._logits(case, head),
                      self._probabilities(case, head), self._dead(case, head)):  # fmt: skip
            if found is not None:
                yield found
                return

    def _constant(self, case: Case, head: Head) -> Finding | None:
        if head.name not in SOFTMAXES or case.setup.task != "real":
            return None
        if head.values.size < 2 or not np.all(head.values == 1):
            return None
        return self._says(
            head, "softmax stands over a single output: it is 1 for every example, and no gradient "
            "passes it",
            "exp(z)/exp(z) = 1 whatever z is, and its derivative p(1 − p) is 0 exactly",
            (Measured("output", 1.0, "by example"), Measured("gradient before it", 0, "not 0")),
            "error", 0.99, _without(case, head),
        )  # fmt: skip

    def _range(self, case: Case, head: Head) -> Finding | None:
        """Targets that lie outside of what the activation gives."""
        if not compares_elements(case) or (head.low == -inf and head.high == inf):
            return None
        y = np.asarray(case.setup.y, dtype=np.float64)
        y = y[np.isfinite(y)]
        variance = float(y.var()) if y.size else 0.0
        if not variance:
            return None
        slack = 1e-6 * float(np.abs(y).max())
        outside = float(np.mean((y < head.low - slack) | (y > head.high + slack)))
        floor = float(np.mean((y - np.clip(y, head.low, head.high)) ** 2))
        if head.name in SOFTMAXES and head.units > 1 and not outside:
            sums = np.asarray(case.setup.y, dtype=np.float64).sum(-1)
            rest = float(np.mean((sums - 1) ** 2)) / head.units
            if rest > COSTS * variance:
                return self._says(
                    head, "softmax outputs add up to 1, and the targets of a row to "
                          f"{sums.mean():.3g}"
                    " on average",
                    "Σ_j p_j = 1 in every row: the squared error is at least (Σ y − 1)²/C",
                    (Measured("squared error that stays ÷ variance", rest / variance, "0"),),
                    "error", 0.93, _without(case, head),
                )  # fmt: skip
        share = floor / variance
        if not outside or share < 1e-3:
            return None
        severity = "error" if share > COSTS else weighed(case, bad="warning", unknown="advice")
        return self._says(
            head,
            f"{head.name} gives {_interval(head)}, and {outside:.0%} of the targets "
            f"({y.min():.4g} … {y.max():.4g}) lie outside: {share:.0%} of their variance cannot be "
            "learnt",
            f"the squared error is at least the mean of dist(y, {_interval(head)})² = {floor:.4g}, "
            f"against a variance of {variance:.4g}"
            + ("" if head.name == "softplus" else "; at the limit the derivative is 0"),
            (
                Measured("targets outside the range", outside, "0"),
                Measured("variance that cannot be learnt", share, "0"),
            ),
            severity, 0.96 if share > COSTS else 0.5, _without(case, head),
        )  # fmt: skip

    def _logits(self, case: Case, head: Head) -> Finding | None:
        """Bounded logits: the probability cannot come near 1."""
        kind = case.loss.kind
        if kind not in ("cross_entropy", "bce_with_logits") or head.name == "log_softmax":
            return None
        if head.name in (*SOFTMAXES, "sigmoid", "hardsigmoid"):
            return None  # loss-output-mismatch or double-softmax says it
        if head.name in ("tanh", "hardtanh", "softsign"):
            width = head.high - head.low
            classes = classes_of(case, head)
            floor = (log(1 + (classes - 1) * exp(-width)) if kind == "cross_entropy"
                     else log(1 + exp(-head.high)))  # fmt: skip
            return self._says(
                head,
                f"{head.name} bounds the logits to {_interval(head)}: the loss cannot fall below "
                f"{floor:.3f}",
                f"−log p ≥ ln(1 + (C − 1)e^−{width:g}) for logits that differ by {width:g} at most"
                if kind == "cross_entropy" else
                f"−log σ(z) ≥ ln(1 + e^−{head.high:g}) for a logit of {head.high:g} at most",
                (Measured("smallest loss that can be reached", floor, "0"),),
                "error", 0.93, _without(case, head),
            )  # fmt: skip
        if head.name in ("relu", "relu6", "softplus", "exp", "square", "abs"):
            zero = float(np.mean(head.values == 0))
            binary = kind == "bce_with_logits"
            return self._says(
                head,
                f"{head.name} stands before {case.loss.name or kind}, which takes logits of either "
                f"sign: {zero:.0%} of them are 0, where no gradient passes",
                "σ(z) ≥ 1/2 for z ≥ 0: no example can be called 0 with any certainty" if binary else
                "a class can be made unlikely only by raising all others, and a logit at 0 has the "
                "derivative 0: a class that falls there does not come back",
                (Measured("logits that are exactly 0", zero, "0"),),
                "error" if binary else "warning", 0.93 if binary else 0.85, _without(case, head),
            )  # fmt: skip
        return None

    def _probabilities(self, case: Case, head: Head) -> Finding | None:
        """An activation before a loss of probabilities that leaves (0, 1)."""
        if case.loss.kind != "bce" or head.name in (
            "",
            "linear",
            "sigmoid",
            "hardsigmoid",
            *SOFTMAXES,
        ):
            return None
        if head.low >= 0 and head.high <= 1:
            return None
        outside = float(np.mean((head.values <= 0) | (head.values >= 1)))
        return self._says(
            head,
            f"{head.name} gives {_interval(head)} and the loss takes probabilities: {outside:.0%} "
            "of "
            "the outputs are no number between 0 and 1",
            "log p is infinite at p = 0 and undefined beyond; clipped there, its gradient is 0",
            (Measured("outputs outside (0, 1)", outside, "0"),),
            "error", 0.97,
            (*((changes.replace_module(head.path, "Sigmoid"),) if head.path else ()),
             changes.fit_head(case.setup)),
        )  # fmt: skip

    def _dead(self, case: Case, head: Head) -> Finding | None:
        """A head of rectified units that are 0 for every example."""
        if head.name not in ("relu", "relu6") or np.any(head.values) or head.values.size < 8:
            return None
        rows = np.asarray(case.setup.x)[:PROBE_ROWS]
        if case.loss.kind == "bce" or np.any(case.framework.outputs(case.setup.model, rows)):
            return None
        return self._says(
            head, f"the outputs of all {len(rows)} rows are 0 at the start: no gradient passes the "
            "ReLU",
            "the derivative of max(0, z) is 0 for z < 0: an output unit that is negative for every "
            "example never changes",
            (Measured("outputs that are 0", 1.0, "less than 1"),),
            "error", 0.9, _without(case, head),
        )  # fmt: skip

    def _says(
        self, head: Head, claim: str, cause: str, evidence: tuple[Measured, ...], severity: str,
        strength: float, remedies: tuple[Change, ...],
    ) -> Finding:  # fmt: skip
        return Finding(
            self.name, head.place, claim, evidence, cause, severity, strength, remedies,
            explains=CONSEQUENCES if severity != "advice" else (),
        )  # fmt: skip


def _without(case: Case, head: Head) -> tuple[Change, ...]:
    removed = (changes.remove_module(head.path),) if head.path else ()
    return (*removed, changes.fit_head(case.setup))


def _interval(head: Head) -> str:
    return f"[{head.low:g}, {'∞)' if head.high == inf else f'{head.high:g}]'}" if head.low > -inf \
        else f"(−∞, {head.high:g}]"  # fmt: skip
