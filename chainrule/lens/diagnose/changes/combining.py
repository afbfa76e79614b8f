"""Several changes as one."""

from __future__ import annotations

from chainrule.lens.diagnose.finding import Change
from chainrule.lens.diagnose.setup import Setup


def combine(*changes: Change) -> Change:
    """One change after the other."""

    def apply(setup: Setup) -> Setup:
        for change in changes:
            setup = change.apply(setup)
        return setup

    return Change(
        "; ".join(change.title for change in changes),
        apply,
        "\n".join(change.code for change in changes if change.code),
        " + ".join(change.kind for change in changes),
    )
