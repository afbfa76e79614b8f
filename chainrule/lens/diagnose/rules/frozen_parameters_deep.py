"""frozen-parameters, after training: frozen first layers that the data would have changed."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.again import again
from chainrule.lens.diagnose.measure.learning import learning
from chainrule.lens.diagnose.measure.rates import unless_explained
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.rules.frozen_parameters import CONSEQUENCES
from chainrule.lens.diagnose.rules.rule import Rule


class FrozenParametersDeep(Rule):
    """Who freezes layers trusts what they learnt before. Where the rest cannot learn on top of
    them, and the same run with them unfrozen does, they were not worth it."""

    name = "frozen-parameters"
    stage = "deep"
    looks_at = "where training suffers, whether the frozen layers keep the network from learning"

    def look(self, case: Case) -> Iterable[Finding]:
        frozen = [name for name in case.first.parameters if name in case.first.frozen]
        how = learning(case)
        if not frozen or how is None or how.broken or not how.unfinished:
            return
        unless_explained(case)
        free = again(case, changes.unfreeze(frozen))
        if free is None or not how.worse_than(free.changed_train_error, free.changed_error):
            return
        place = frozen[0].rpartition(".")[0] or frozen[0]
        yield Finding(
            self.name, place,
            f"{written(place)} is frozen at weights on which the rest cannot learn: training rows "
            f"end at an error of {how.error:.3g} (1 is a constant's), and at "
            f"{free.changed_train_error:.3g} once it may change",
            (
                Measured("frozen parameters", len(frozen), "0, or layers that were trained before"),
                Measured("error of held-out rows", how.held_out, f"{free.changed_error:.3g}",
                         f"the same run, unfrozen, after {free.epochs} epochs"),
            ),
            "a frozen layer is a fixed map of the inputs: what it loses no other layer can put "
            "back, and random weights lose what the task needs unless they are very many "
            "(Yosinski et al., NeurIPS 2014)",
            "warning", 0.85, (changes.unfreeze(frozen),), explains=CONSEQUENCES,
        )  # fmt: skip
