"""optimizer-setting: options that cannot be meant."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any, TypeGuard

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Change, Finding, Measured
from chainrule.lens.diagnose.frameworks.framework import OptimizerFacts
from chainrule.lens.diagnose.rules.rule import Rule
from chainrule.lens.diagnose.severity import weighed

HIGHEST = {"SGD": 1.0, "ASGD": 1.0}
HIGHEST_ADAPTIVE, LOWEST = 0.3, 1e-7
USUAL = {"SGD": 0.05, "ASGD": 0.05}
RATELESS = ("Adadelta", "LBFGS", "Rprop", "Prodigy", "DAdaptAdam")
"""Optimisers whose rate of 1 is the default, or means something else."""


class OptimizerSetting(Rule):
    """Values for which the update's formula does not descend or forgets nothing. Rates that are
    merely far from usual are judged by the run, where there is one."""

    name = "optimizer-setting"
    stage = "static"
    looks_at = "whether the optimiser's options make sense"

    def look(self, case: Case) -> Iterable[Finding]:
        facts = case.optimizer
        yield from self._rate(case, facts)
        momentum = facts.options.get("momentum")
        if _is_number(momentum) and momentum >= 1:
            yield _says(
                f"momentum is {momentum:g}: old gradients never fade",
                f"b ← μb + g adds up to g/(1 − μ), which has no limit for μ = {momentum:g}",
                (Measured("momentum", momentum, "0 to 0.99"),), "error", 0.95,
                (changes.set_options(momentum=0.9),),
            )  # fmt: skip
        betas = facts.options.get("betas")
        if isinstance(betas, tuple | list) and len(betas) >= 2:
            yield from self._betas(case, tuple(float(b) for b in betas[:2]))
        eps = facts.options.get("eps")
        adam = facts.kind.lower().startswith(("adam", "nadam", "radam"))
        if adam and _is_number(eps) and eps >= 1e-2:
            yield _says(
                f"eps is {eps:g}: the step is η·m/{eps:g} for gradients below it, not η",
                "w ← w − η m/(√v + ε): with ε ≫ √v nothing is adaptive, and the rate is η/ε",
                (Measured("eps", eps, "1e-8 to 1e-4"),),
                weighed(case, bad="warning", unknown="advice"), 0.6,
                (changes.set_options(eps=1e-8),),
            )  # fmt: skip
        yield from self._decay(case, facts)

    def _rate(self, case: Case, facts: OptimizerFacts) -> Iterable[Finding]:
        rate = facts.rate
        usual = USUAL.get(facts.kind, 1e-3)
        if not isfinite(rate) or rate <= 0:
            yield _says(
                f"the learning rate is {rate:g}: "
                + ("nothing moves" if rate == 0 else "the steps go up" if rate < 0 else "no "
                                                                                        "number"),
                "w ← w − η·g",
                (Measured("learning rate", rate, f"about {usual:g}"),), "error", 0.98,
                (changes.set_rate(usual),),
                explains=("frozen-parameters", "not-learning", "learning-rate-too-low",
                          "wrong-sign",
                          "too-few-steps", "learning-rate-too-high", "exploding-gradients"),
            )  # fmt: skip
        elif case.trace is None and facts.kind not in RATELESS:
            if rate > HIGHEST.get(facts.kind, HIGHEST_ADAPTIVE):
                yield _says(
                    f"the learning rate of {facts.kind} is {rate:g}, where about {usual:g} is "
                    "usual",
                    "a step of size η is too long where η·λ > 2 for the loss's curvature λ"
                    if facts.kind in USUAL else
                    f"{facts.kind} moves every weight by about η = {rate:g} in a step, and weights "
                    "are of the size 1/√n",
                    (Measured("learning rate", rate, f"about {usual:g}"),), "warning", 0.6,
                    (changes.set_rate(usual),),
                )  # fmt: skip
            elif rate < LOWEST:
                yield _says(
                    f"the learning rate of {facts.kind} is {rate:g}: {case.setup.steps} steps "
                    "move a "
                    f"weight by about {rate * case.setup.steps:.2g}",
                    "w ← w − η·g adds up to η · steps · g at most",
                    (Measured("learning rate", rate, f"about {usual:g}"),), "warning", 0.6,
                    (changes.set_rate(usual),),
                )  # fmt: skip

    def _betas(self, case: Case, betas: tuple[float, ...]) -> Iterable[Finding]:
        if any(not 0 <= b < 1 for b in betas):
            yield _says(
                f"betas are {betas}: a running mean with β outside of [0, 1) is none",
                "m ← βm + (1 − β)g",
                (Measured("betas", str(betas), "(0.9, 0.999)"),), "error", 0.95,
                (changes.set_options(betas=(0.9, 0.999)),),
            )  # fmt: skip
        elif betas[0] ** 2 > betas[1]:
            yield _says(
                f"betas are {betas}: the gradients' mean remembers longer than their squares allow",
                "Adam's steps stay bounded where β₁² < β₂ (Reddi et al. 2018)",
                (Measured("β₁²", betas[0] ** 2, f"below β₂ = {betas[1]:g}"),),
                weighed(case, bad="warning", unknown="advice"), 0.5,
                (changes.set_options(betas=(0.9, 0.999)),),
            )  # fmt: skip

    def _decay(self, case: Case, facts: OptimizerFacts) -> Iterable[Finding]:
        decay = facts.options.get("weight_decay")
        if not _is_number(decay) or decay == 0:
            return
        shrink = decay * facts.rate
        if decay < 0 or shrink >= 1:
            yield _says(
                f"weight_decay is {decay:g}: every step multiplies the weights by {1 - shrink:.3g}",
                "w ← (1 − ηλ)w − η·g",
                (Measured("1 − ηλ", 1 - shrink, "just below 1"),), "error", 0.93,
                (changes.set_decay(0.0), changes.set_decay(1e-4)),
            )  # fmt: skip


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _says(
    claim: str, cause: str, evidence: tuple[Measured, ...], severity: str, strength: float,
    remedies: tuple[Change, ...],
    explains: tuple[str, ...] = ("non-finite", "exploding-gradients", "not-learning",
                                 "learning-rate-too-high", "learning-rate-too-low"),
) -> Finding:  # fmt: skip
    return Finding("optimizer-setting", "optimizer", claim, evidence, cause, severity, strength,
                   remedies, explains=explains if severity != "advice" else ())  # fmt: skip
