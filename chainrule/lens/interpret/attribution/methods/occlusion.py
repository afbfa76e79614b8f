"""Occlusion: what the output loses when a part of the input is not there."""

from __future__ import annotations

import numpy as np

from chainrule.lens.interpret.attribution.attribute import Asked, Attribution


def attribution(asked: Asked) -> Attribution:
    """F(x) − mean over the rows b of the baseline of F(x with group g taken from b) (Zeiler, Fergus
    2014), spread evenly over the group's places."""
    asked.require_few_parts()
    count = len(asked.groups)
    lost = asked.outputs[:, None] - asked.worth(~np.eye(count, dtype=bool))
    return Attribution(
        "occlusion", asked.spread(lost), asked.outputs, asked.background,
        "what the output loses when this part alone is put to its baseline",
        "parts that say the same hide each other: each alone is missed little; rows with a part "
        "taken out may be like none the network saw; the shares need not add up to the output",
        complete=False,
    )  # fmt: skip
