"""over-regularised: a penalty, decay or dropout outweighs what the data say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Change, Finding, Measured
from chainrule.lens.diagnose.measure.again import Again, again
from chainrule.lens.diagnose.rules.rule import Rule

DECOUPLED = ("AdamW", "NAdamW", "SGDW", "Lion", "RMSpropW")
LEAST_DECAY = 1e-3
ALONE = 3.0
"""The penalty's gradient ÷ the data's, from which on the weights only shrink."""
MUCH_DROPOUT = 0.6
LEAST_ERROR, LEAST_GAIN = 0.1, 0.05
"""The training error ÷ a constant's below which nothing is amiss, and what must be gained."""


@dataclass(frozen=True)
class _Suspect:
    """A regulariser that may be too strong, what was measured of it, and the run without it."""

    where: str
    what: str
    evidence: tuple[Measured, ...]
    cause: str
    change: Change


class OverRegularised(Rule):
    """At rest the penalty's gradient and the data's cancel: λw = −∂L/∂w. So what the penalty costs
    is read off −w·∂L/∂w, by how much the loss would fall if the weights grew, and proven by the
    same run, from the same first weights and rows in the same order, without the penalty."""

    name = "over-regularised"
    stage = "deep"
    looks_at = "the gradient of penalties against the data's, and the same run without them"

    def look(self, case: Case) -> Iterable[Finding]:
        if case.trace is None or case.trained is None:
            raise Missing("there was no run")
        last = next((e for e in reversed(case.trace.epochs) if e.train_error is not None), None)
        # Where the run has learnt what there is to learn, no penalty was too strong.
        if last is None or last.train_error is None or last.train_error < LEAST_ERROR:
            return
        for suspect in [*_decay(case), *_dropouts(case), *_penalty(case)]:
            without = again(case, suspect.change)
            if without is not None and _costs(without):
                yield _finding(suspect, without)


def _costs(run: Again) -> bool:
    """Whether the run without the penalty has less than half the training error, and is better by
    a third on rows that it has not seen."""
    return (
        run.changed_error < 0.65 * run.error
        and run.changed_train_error < 0.5 * run.train_error
        and run.error - run.changed_error > LEAST_GAIN
    )


def _decay(case: Case) -> Iterable[_Suspect]:
    facts, setup = case.optimizer, case.setup
    decay = facts.options.get("weight_decay", 0.0)
    if not isinstance(decay, int | float) or decay < LEAST_DECAY:
        return
    _, gradients = setup.framework.gradients(
        case.final_model, setup.x[:500], setup.y[:500], setup.loss
    )
    weights = setup.framework.parameters(case.final_model)
    held = [n for n in gradients if n in facts.held and weights[n].ndim > 1]
    if not held:
        return
    w = np.concatenate([weights[n].reshape(-1) for n in held]).astype(np.float64)
    g = np.concatenate([gradients[n].reshape(-1) for n in held]).astype(np.float64)
    pull, force = float(decay * np.linalg.norm(w)), float(np.linalg.norm(g))
    against = -float(w @ g) / max(float(np.linalg.norm(w)) * force, 1e-30)
    first = np.concatenate([case.first.parameters[n].reshape(-1) for n in held])
    shrunk = float(np.linalg.norm(w)) / max(float(np.linalg.norm(first)), 1e-30)
    rate, steps = setup.rate, setup.steps
    decoupled = facts.kind in DECOUPLED
    kept = float(np.exp(-rate * decay * steps))
    alone = facts.kind == "SGD" and pull > ALONE * force
    yield _Suspect(
        "optimizer",
        f"weight decay {decay:g}",
        (
            Measured("λ‖w‖ ÷ ‖∂L/∂w‖ after training", pull / max(force, 1e-30), "well below 1"),
            Measured("cosine between w and −∂L/∂w", against, "about 0",
                     "1: the data's gradient only holds the decay off"),
            Measured("‖w‖ after ÷ before training", shrunk, "about 1 or more"),
        ),
        (
            f"{'decoupled decay' if decoupled else 'the penalty'} multiplies the weights by "
            f"(1 − ηλ) at each of {steps} steps: e^(−{rate:g}·{decay:g}·{steps}) = {kept:.2g} of "
            "them is left where the data do not hold them "
            + ("(Loshchilov & Hutter, ICLR 2019)" if decoupled
               else f"(Krogh & Hertz, NeurIPS 1991), and here they do not: ‖λw‖ = {pull:.3g} "
                    f"against ‖∂L/∂w‖ = {force:.3g}")
            if decoupled or alone
            else f"the step follows ∂L/∂w + λw with λ = {decay:g}: it rests where ∂L/∂w = −λw, "
            f"here ‖λw‖ = {pull:.3g} against ‖∂L/∂w‖ = {force:.3g}, far from the least loss "
            "(Krogh & Hertz, NeurIPS 1991)"
        ),
        changes.set_decay(min(1e-5, decay / 100)),
    )  # fmt: skip


def _dropouts(case: Case) -> Iterable[_Suspect]:
    found = {}
    for path, kind, module in case.framework.modules(case.setup.model):
        rate = getattr(module, "p", None)
        if "Dropout" in kind and isinstance(rate, int | float) and rate >= MUCH_DROPOUT:
            found[path] = (kind, float(rate))
    if not found:
        return
    path, (_, rate) = max(found.items(), key=lambda item: item[1][1])
    yield _Suspect(
        path,
        f"dropout {rate:g}",
        (Measured("share of the units that dropout leaves out", rate, "0.1 to 0.5"),),
        f"each unit's sum over n inputs has its variance raised by p/(1 − p) = "
        f"{rate / max(1 - rate, 1e-9):.1f} times its mean square, and the equivalent L2 penalty "
        "grows with the same factor (Wager, Wang & Liang, NeurIPS 2013)",
        changes.combine(
            *(changes.replace_module(p, kind, 0.1) for p, (kind, _) in found.items())
        ) if len(found) > 1 else changes.replace_module(path, found[path][0], 0.1),
    )  # fmt: skip


def _penalty(case: Case) -> Iterable[_Suspect]:
    """A penalty that the user's loss adds: it reads parameters after the model's output."""
    run = case.first
    start = run.facts.operation
    if start is None or run.facts.kind == "custom":
        return
    read = {p for op in run.ops[start:] for p in op.parameters if p is not None}
    if not read or run.outputs is None or run.y is None:
        return
    plain = case.framework.loss(run.facts.kind)
    data = case.framework.loss_of(plain, run.outputs, run.y)
    share = (run.loss - data) / max(abs(run.loss), 1e-30)
    if share < 0.1:
        return
    yield _Suspect(
        "loss",
        f"the penalty on {len(read)} parameters in the loss",
        (Measured("penalty ÷ loss before training", share, "well below 1"),),
        f"the penalty is {run.loss - data:.3g} of a loss of {run.loss:.3g}: its gradient outweighs "
        "that of the data, and the weights rest where the two cancel",
        changes.use_loss(run.facts.kind),
    )


def _finding(suspect: _Suspect, run: Again) -> Finding:
    return Finding(
        OverRegularised.name,
        suspect.where,
        f"{suspect.what} keeps the network from learning: the same run with hardly any has a "
        f"held-out error of {run.changed_error:.2f} of a constant's instead of {run.error:.2f} "
        f"after {run.epochs} epochs",
        (
            *suspect.evidence,
            Measured("held-out error, as it is ÷ a constant's", run.error,
                     f"{run.changed_error:.3g}",
                     "the same run without it"),
            Measured("training error, as it is ÷ a constant's", run.train_error,
                     f"{run.changed_train_error:.3g}", "the same run without it"),
        ),
        suspect.cause,
        "error" if run.error > 0.6 else "warning",
        0.85,
        (suspect.change,),
        explains=("not-learning", "too-few-steps", "learning-rate-too-low", "vanishing-gradients",
                  "capacity-too-small", "capacity-too-large", "dead-units", "class-imbalance",
                  "bad-initialisation"),
    )  # fmt: skip
