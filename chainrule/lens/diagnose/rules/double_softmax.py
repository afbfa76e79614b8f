"""double-softmax: probabilities are handed to a loss that takes logits."""

from __future__ import annotations

from collections.abc import Iterable
from math import e

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Change, Finding, Measured
from chainrule.lens.diagnose.head import SOFTMAXES, Head, classes_of, head_of
from chainrule.lens.diagnose.measure.chance import double_softmax_floor
from chainrule.lens.diagnose.rules.rule import Rule


class DoubleSoftmax(Rule):
    """cross_entropy(softmax(z), y): the second softmax of numbers in [0, 1] is nearly uniform.

    The smallest loss that it can have with C classes is ln(1 + (C − 1)/e): at best its logits are 1
    for the right class and 0 for the others.
    """

    name = "double-softmax"
    stage = "static"
    looks_at = "whether a loss that takes logits, or a second softmax, is given probabilities"

    def look(self, case: Case) -> Iterable[Finding]:
        head = head_of(case)
        if head is None or head.name not in SOFTMAXES:
            return
        classes = classes_of(case, head)
        twice = _softmax_before(case, head)
        if case.loss.kind == "cross_entropy" and classes > 1:
            name = case.loss.name or "cross-entropy"
            what = f"{name}, which takes logits and applies softmax itself"
        elif twice:
            what = f"a second softmax ({head.path or 'in the loss'})"
            head = twice
        else:
            return
        floor, most = double_softmax_floor(classes), e / (e + classes - 1)
        yield Finding(
            self.name,
            head.place,
            f"softmax stands before {what}: the loss cannot fall below {floor:.3f}",
            (
                Measured("smallest loss that can be reached", floor, "0"),
                Measured("largest probability that can be reached", most, "1"),
            ),
            f"the second softmax's inputs lie in [0, 1], so p ≤ e/(e + C − 1) = {most:.3f} for "
            f"C = {classes}, the loss is at least ln(1 + (C − 1)/e) = {floor:.3f}, and the "
            "gradient passes two softmax Jacobians, each with entries p(1 − p) ≤ 1/4",
            "error",
            0.97,
            remedies(head),
            explains=("vanishing-gradients", "learning-rate-too-low", "too-few-steps",
                      "not-learning", "capacity-too-small"),
        )  # fmt: skip


def remedies(head: Head) -> tuple[Change, ...]:
    """Taking out the activation, where it is a module."""
    return (changes.remove_module(head.path),) if head.path else ()


def _softmax_before(case: Case, head: Head) -> Head | None:
    """The softmax whose result the head's softmax takes, if it does."""
    run = case.first
    source = run.ops[head.op].inputs[0]
    if source is None or run.ops[source].name not in SOFTMAXES:
        return None
    op = run.ops[source]
    return Head(op.name, op.path, run.place(source), source, op.value)
