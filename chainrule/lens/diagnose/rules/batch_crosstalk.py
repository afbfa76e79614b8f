"""batch-crosstalk: an example's output depends on the other examples of its batch."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.crosstalk import crosstalk, first_mixing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.rules.rule import Rule


class BatchCrosstalk(Rule):
    """∂ output_i / ∂ input_j ≠ 0 for two examples i ≠ j, in evaluation mode: a softmax, mean or
    attention over the batch's axis, or a reshape that mixes rows (Karpathy, A Recipe for Training
    Neural Networks, 2019)."""

    name = "batch-crosstalk"
    stage = "static"
    looks_at = "whether examples of a batch reach into each other"

    def look(self, case: Case) -> Iterable[Finding]:
        found = crosstalk(case)
        if not found.leak > 0:
            return
        op, place = first_mixing(case) or (None, "model")
        which = f" ({op.name} in {written(op.path)})" if op is not None else ""
        yield Finding(
            self.name,
            place,
            f"changing one example moves another one's output by {found.leak:.2g} of the outputs' "
            f"size{which}",
            (
                Measured(f"change of output {found.row} when input 0 changes", found.leak, "0"),
                Measured("change of output 0 itself", found.own),
            ),
            "the loss is a mean over independent examples; where output i depends on input j, the "
            "network can use what it will not have when it is used on one example, and the "
            "gradient of one example is spread over the others",
            "error",
            0.9,
            explains=("overfit", "not-learning"),
        )
