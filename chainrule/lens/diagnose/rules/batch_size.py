"""batch-size: batches so large that there are few steps, or so small that noise rules them."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.learning import Learning, learning
from chainrule.lens.diagnose.measure.noise import Noise, gradient_noise
from chainrule.lens.diagnose.measure.rates import Tried, tried, unless_explained
from chainrule.lens.diagnose.rules.rule import Rule

LARGE = 0.25
"""A batch of more than this share of the rows gives hardly any steps in an epoch."""


class BatchSize(Rule):
    """The training rows are not fitted, and the same number of epochs with another batch size fits
    them and the held-out rows far better."""

    name = "batch-size"
    stage = "deep"
    looks_at = "the gradients' noise against the batch size, where training suffers"

    def look(self, case: Case) -> Iterable[Finding]:
        how, setup = learning(case), case.setup
        if how is None or not how.unfinished:
            return
        size, rows = setup.batch_size, len(setup.x)
        large = size >= 64 and size > LARGE * rows
        small = size <= 4 and rows >= 64
        if how.broken or not (large or small):
            return
        unless_explained(case)
        noise = gradient_noise(case)
        if noise is None or (small and noise.scale < 4 * size):
            return
        wanted = 32 if large else min(32, rows // 8)
        other = tried(case, changes.set_batch_size(wanted))
        if other is not None and how.worse_than(other.error, other.held_out):
            yield self._finding(how, noise, size, wanted, other, setup.steps_per_epoch)

    def _finding(
        self, how: Learning, noise: Noise, size: int, wanted: int, other: Tried, steps: int
    ) -> Finding:
        return Finding(
            self.name,
            "data",
            f"batches of {size} rows give an error of {how.error:.3g} (1 is a constant's), batches "
            f"of {wanted} over as many epochs {other.error:.3g}",
            (
                Measured("batch size", size),
                Measured("steps in an epoch", steps),
                Measured("gradient noise scale tr Σ/|G|²", noise.scale, "near the batch size",
                         "at the first weights"),
                Measured(f"error with batches of {wanted}", other.error, f"{how.error:.3g} now"),
            ),
            "the mean gradient of B rows has noise tr Σ/B beside its signal |G|²; they are equal "
            f"at B = {noise.scale:.3g} (McCandlish et al. 2018): below it a larger batch pays, far "
            "above it rows are spent that more steps would use better",
            how.severity,
            0.55,
            (changes.set_batch_size(wanted), changes.train_longer(4)),
            explains=("not-learning", "too-few-steps"),
        )  # fmt: skip
