"""loss-output-mismatch: the loss takes something else than what the output layer gives."""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, log

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Change, Finding, Measured
from chainrule.lens.diagnose.head import SOFTMAXES, Head, classes_of, head_of
from chainrule.lens.diagnose.rules.rule import Rule
from chainrule.lens.diagnose.targets import is_choices, is_labels, one_of_many, range_of

CONSEQUENCES = (
    "double-softmax", "output-activation", "vanishing-gradients", "learning-rate-too-low",
    "too-few-steps", "not-learning", "non-finite", "capacity-too-small", "unreached-parameters",
    "target-scale", "target-encoding", "exploding-gradients", "learning-rate-too-high",
    "unused-classes", "optimizer-setting", "model-error", "dead-units", "saturated-units",
)  # fmt: skip


class LossOutputMismatch(Rule):
    """A loss is the negative log-likelihood of a distribution, written for one form of its
    parameters: logits (any number), log-probabilities (at most 0) or probabilities (0 to 1)."""

    name = "loss-output-mismatch"
    stage = "static"
    looks_at = "whether the loss fits the output layer and the targets"

    def look(self, case: Case) -> Iterable[Finding]:
        head = head_of(case)
        if head is None:
            return
        found = self._found(case, head)
        if found is not None:
            yield found

    def _found(self, case: Case, head: Head) -> Finding | None:
        kind = case.loss.kind
        if head.name in SOFTMAXES and _over_one(head) and case.setup.task != "real":
            return self._one_softmax_unit(case, head)
        if kind in ("cross_entropy", "nll"):
            return self._of_classes(case, head, kind)
        if kind in ("bce", "bce_with_logits"):
            return self._of_yes_and_no(case, head, kind)
        if kind in ("mse", "mae", "huber") and case.setup.task != "real":
            return self._of_squares(case, head)
        return None

    def _one_softmax_unit(self, case: Case, head: Head) -> Finding:
        return self._says(
            head,
            "softmax stands over a single unit: its output is 1 for every example, and no gradient "
            "passes it",
            "p = exp(z)/exp(z) = 1 whatever z is, and ∂p/∂z = p(1 − p) = 0 exactly",
            (Measured("output", float(np.min(head.values)), "between 0 and 1, by example"),
             Measured("gradient before the softmax", 0, "not 0")),
            0.99,
            (*((changes.replace_module(head.path, "Sigmoid"),) if head.path else ()),
             changes.fit_head(case.setup)),
        )  # fmt: skip

    def _of_classes(self, case: Case, head: Head, kind: str) -> Finding | None:
        classes = classes_of(case, head)
        name = case.loss.name or kind
        if classes == 1:
            return self._says(
                head,
                f"{name} has one output to choose from: the softmax of a single logit is 1, so "
                "that "
                "the loss is 0 and nothing is learnt",
                "p = exp(z)/exp(z) = 1, −log p = 0 for every z; yes or no with one unit is a "
                "binary "
                "cross-entropy",
                (Measured("outputs", 1, "one for each class"),),
                0.98, (changes.fit_head(case.setup),),
            )  # fmt: skip
        if head.name == "sigmoid":
            floor = log(1 + (classes - 1) * exp(-1)) if kind == "cross_entropy" else 0.0
            return self._says(
                head,
                f"sigmoid stands before {name}, which is of one choice among {classes} classes"
                + (f": the loss cannot fall below {floor:.3f}" if floor else ""),
                "logits in [0, 1] give p ≤ e/(e + C − 1), so −log p ≥ ln(1 + (C − 1)/e) = "
                f"{floor:.3f}"
                if floor else
                "sigmoids do not add up to 1: nothing pushes the wrong classes' outputs down, and "
                "every output at 1 has the loss 0",
                (Measured("smallest loss that can be reached", floor, "0"),),
                0.96, (*_removed(head), changes.fit_head(case.setup)),
            )  # fmt: skip
        if kind != "nll" or head.name == "log_softmax" or (head.logged and head.name in SOFTMAXES):
            return None
        if case.loss.options.get("takes") == "probabilities" and head.name in SOFTMAXES:
            return None
        if head.name in SOFTMAXES:
            return self._says(
                head,
                f"{name} takes log-probabilities and is given probabilities: the loss "
                f"{case.first.loss:.3f} is −p, not −log p",
                "−p is at least −1, and its gradient does not grow as the right class's p goes to "
                "0: ∂(−p)/∂z = −p(1 − p) against p − 1 for −log p",
                (Measured("loss", case.first.loss, "at least 0"),),
                0.96,
                (*((changes.replace_module(head.path, "LogSoftmax", -1),) if head.path else ()),
                 changes.fit_head(case.setup)),
            )  # fmt: skip
        values = head.values.astype(np.float64)
        if np.allclose(np.exp(values).sum(-1), 1, atol=1e-3) or head.name not in ("linear", "relu"):
            return None
        return self._says(
            head,
            f"{name} takes log-probabilities and is given unbounded outputs: the loss has no least "
            "value",
            "−z_y falls without bound as z_y grows; log-probabilities are z − logsumexp(z) ≤ 0",
            (Measured("Σ exp(output) of the first example", float(np.exp(values[0]).sum()), "1"),),
            0.96, (changes.use_loss("cross_entropy"), changes.fit_head(case.setup)),
        )  # fmt: skip

    def _of_yes_and_no(self, case: Case, head: Head, kind: str) -> Finding | None:
        name, y = case.loss.name or kind, np.asarray(case.setup.y)
        low, high = range_of(y)
        if (low < 0 or high > 1) and not is_labels(y):
            return self._says(
                head,
                f"{name}{f' behind {head.name}' if head.squashes else ''} is given targets from "
                f"{low:.4g} to {high:.4g}: they are numbers, not 0 and 1",
                "−y log p − (1 − y) log(1 − p) is a negative log-likelihood for 0 ≤ y ≤ 1 alone; "
                "for "
                "other y it falls without bound, and pushes the logit to ±∞",
                (Measured("targets", f"{low:.4g} … {high:.4g}", "0 … 1"),),
                0.97, (changes.fit_head(case.setup), changes.use_loss("mse")),
                where=head.place if head.squashes else "loss",
            )  # fmt: skip
        if (low < 0 or high > 1) and head.units == 1:
            return self._says(
                head,
                f"{name} tells two classes apart with one unit, and the targets have "
                f"{len(np.unique(y))} classes, {low:g} … {high:g}",
                "one probability p says 1 or 0; C classes need C logits and a softmax",
                (Measured("classes", len(np.unique(y)), "2"), Measured("output units", head.units)),
                0.97, (changes.fit_head(case.setup),),
            )  # fmt: skip
        if kind == "bce":
            if head.name == "linear":
                given = case.first.ops[head.op].value
                outside = float(np.mean((given <= 0) | (given >= 1)))
                return self._says(
                    head,
                    f"{name} takes probabilities and is given unbounded outputs: {outside:.0%} of "
                    "them lie outside (0, 1)",
                    "log p of a p ≤ 0 is not a number, or is clipped, where its gradient is 0; a "
                    "sigmoid makes any number a probability",
                    (Measured("outputs outside (0, 1)", outside, "0"),),
                    0.97,
                    (changes.use_loss("bce_with_logits"), changes.fit_head(case.setup)),
                )  # fmt: skip
            if head.name in SOFTMAXES and head.units > 2 and one_of_many(y):
                return self._says(
                    head,
                    f"{name} of {head.units} softmax outputs takes each class for a choice of its "
                    f"own: an accuracy per output of {1 - 1 / head.units:.0%} is had by saying no "
                    "to all",
                    "the likelihood of one class among C is the categorical −log p_y; Σ_j over "
                    "yes-or-no terms counts every wrong class as a success",
                    (Measured("output units", head.units, "1, or independent ones"),),
                    0.9,
                    (*_head_of_logits(case, head), changes.fit_head(case.setup)),
                    severity="warning",
                )  # fmt: skip
        if kind == "bce_with_logits" and head.name in ("sigmoid", "hardsigmoid", *SOFTMAXES):
            floor = log(1 + exp(-1))
            return self._says(
                head,
                f"{head.name} stands before {name}, which takes logits and applies the sigmoid "
                f"itself: no probability leaves [0.5, {1 / (1 + exp(-1)):.2f}]",
                f"σ(p) for p in [0, 1] lies between 0.5 and 0.73: a 0 costs at least ln 2 = 0.693, "
                f"a 1 at least {floor:.3f}",
                (Measured("loss of a certain 0", log(2), "0"),
                 Measured("loss of a certain 1", floor, "0")),
                0.97, (*_removed(head), changes.use_loss("bce"), changes.fit_head(case.setup)),
            )  # fmt: skip
        return None

    def _of_squares(self, case: Case, head: Head) -> Finding | None:
        y = np.asarray(case.setup.y)
        if case.first.y is None or head.values.size != case.first.y.size:
            return None
        if is_labels(y) and len(np.unique(y)) > 2 and y.size == len(y):
            return None  # target-encoding says it
        if head.name not in ("linear", "sigmoid", *SOFTMAXES) or not is_choices(y):
            return None
        squashed = head.name != "linear"
        return Finding(
            self.name,
            "loss",
            f"{case.loss.name or case.loss.kind} compares "
            f"{'probabilities' if squashed else 'outputs'} with class labels; a cross-entropy "
            "learns them faster",
            (Measured("largest p(1 − p)", float(np.max(head.values * (1 - head.values))), "1/4"),)
            if squashed
            else (),
            "the gradient of (p − y)² carries the factor p(1 − p) ≤ 1/4, which goes to 0 where the "
            "output is certain and wrong; that of −log p is p − y"
            if squashed
            else "squares punish an output that is right by more than 1, and labels' noise is not "
            "Gaussian",
            "advice",
            0.3,
            (changes.fit_head(case.setup),),
        )

    def _says(
        self, head: Head, claim: str, cause: str, evidence: tuple[Measured, ...],
        strength: float, remedies: tuple[Change, ...], where: str = "", severity: str = "error",
    ) -> Finding:  # fmt: skip
        """The output layer is what does not fit, unless the finding says otherwise (`where`)."""
        return Finding(
            self.name, where or head.place, claim, evidence, cause, severity, strength, remedies,
            explains=CONSEQUENCES if severity != "advice" else (),
        )  # fmt: skip


def _over_one(head: Head) -> bool:
    axis = -1 if head.axis is None else head.axis
    ones = bool(np.all(head.values == 1)) and head.values.size > 1
    return ones and (head.values.ndim < 2 or head.values.shape[axis] == 1)


def _removed(head: Head) -> tuple[Change, ...]:
    return (changes.remove_module(head.path),) if head.path else ()


def _head_of_logits(case: Case, head: Head) -> tuple[Change, ...]:
    if not head.path:
        return ()
    return (changes.combine(changes.remove_module(head.path), changes.use_loss("cross_entropy")),)
