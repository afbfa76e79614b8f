"""How bad a finding is, where that depends on how the run went."""

from __future__ import annotations

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.measure.learning import learning


def weighed(
    case: Case, *, bad: str = "error", unknown: str = "warning", well: str = "advice"
) -> str:
    """A severity: `bad` where the run fits its rows far worse than a simple model would, `well`
    where it does not, `unknown` where nothing has been trained yet."""
    run = learning(case)
    if run is None:
        return unknown
    return bad if run.suffers else well
