"""vanishing-gradients: the first layers get next to nothing of the gradient."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.depth import Depth, depth
from chainrule.lens.diagnose.measure.jacobians import chain
from chainrule.lens.diagnose.measure.learning import Learning, learning
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.rules.rule import Rule

LEAST = 1e-3


class VanishingGradients(Rule):
    """The gradient at the first layer is below a thousandth of the last one's, and the training
    rows are not fitted."""

    name = "vanishing-gradients"
    stage = "live"
    looks_at = "gradients at the first layer against the last one's, through the run"

    def look(self, case: Case) -> Iterable[Finding]:
        how = learning(case)
        if how is None:
            raise Missing("no run was watched")
        if not how.suffers or how.broken:
            return
        found = depth(case)
        if found is not None and found.ratio < LEAST and found.first < 10 * LEAST:
            yield self._finding(case, how, found)

    def _finding(self, case: Case, how: Learning, found: Depth) -> Finding:
        lowest, highest = written(found.lowest), written(found.highest)
        evidence = [
            Measured(f"gradient at {lowest} ÷ gradient at {highest}", found.ratio,
                     f"above {LEAST:g}", "root mean squares of ∂L/∂z, median of samples"),
            Measured("the same before the first step", found.first),
            Measured(f"update ÷ weight of {lowest}", found.moved, "about 1e-3"),
            Measured("error of the training rows", how.error, "near 0", "1 is the best constant's"),
        ]  # fmt: skip
        for slope in found.slopes:
            evidence.append(Measured(
                f"ln‖δ‖² from {written(slope.above)} to {written(slope.below)}",
                slope.measured, "near 0",
                f"weights {slope.weights:.2f}, activation {slope.activation:.2f}"))  # fmt: skip
        return Finding(
            self.name,
            found.lowest,
            f"gradients vanish: at {lowest} they are {found.ratio:.2g} of those at "
            f"{highest}, {found.count - 1} layers above",
            evidence,
            "backward, δ_l = φ′(z_l) Wᵀδ_{l+1}: each layer multiplies ‖δ‖² by n·E[w²]·E[φ′²] "
            "(Schoenholz et al. 2017)"
            + "".join(f"; {part}" for part in (found.split(), chain(case.first_probe)) if part),
            "error",
            0.75,
            (
                changes.combine(changes.use_activation("ReLU"), changes.reinitialise("he")),
                changes.use_activation("ReLU"),
                changes.reinitialise("xavier"),
                changes.use_optimizer("Adam", lr=1e-3),
            ),
            explains=(
                "not-learning",
                "learning-rate-too-low",
                "too-few-steps",
                "capacity-too-small",
            ),
        )
