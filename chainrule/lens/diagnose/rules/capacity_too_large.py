"""capacity-too-large: a layer has far more units than directions that it uses."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.ranks import effective_rank
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.rules.rule import Rule

LEAST_UNITS = 128
USED = 0.05


class CapacityTooLarge(Rule):
    """What a wide layer gives spans few directions (effective rank, Roy & Vetterli 2007): a
    narrower one would do. Advice only: width does not keep a network from learning."""

    name = "capacity-too-large"
    stage = "deep"
    looks_at = "the effective rank of what wide layers give"

    def look(self, case: Case) -> Iterable[Finding]:
        if case.trained is None or case.trace is None:
            raise Missing("there was no run")
        # A network that has learnt nothing uses nothing; that says nothing about its width.
        errors = [e.train_error for e in case.trace.epochs if e.train_error is not None]
        if not errors or errors[-1] > 0.5:
            return
        found = []
        for layer in case.probe.layers:
            h = layer.by_unit(layer.h)
            if layer.kind != "linear" or layer.last or layer.units < LEAST_UNITS:
                continue
            if len(h) < 2 * layer.units or not np.isfinite(h).all() or layer.units > 1024:
                continue
            rank = effective_rank(h - h.mean(0))
            if rank < USED * layer.units:
                found.append((rank / layer.units, rank, layer))
        if not found:
            return
        share, rank, layer = min(found, key=lambda item: item[0])
        enough = max(8, 2 ** int(np.ceil(np.log2(4 * rank))))
        yield Finding(
            self.name,
            layer.path,
            f"{written(layer.path)} has {layer.units} units and what they give spans about "
            f"{rank:.1f} directions: {enough} units would likely do",
            (
                Measured("effective rank ÷ units", share, f"above {USED:g}",
                         f"{len(case.probe.x)} rows, after training"),
            ),
            f"exp(−Σ p ln p) over the singular values of its centred output is {rank:.1f} (Roy & "
            f"Vetterli, EUSIPCO 2007), so that {layer.units - enough} of {layer.units} units "
            "repeat what others say",
            "advice",
            0.2,
            (changes.narrow(layer.path, enough),),
        )  # fmt: skip
