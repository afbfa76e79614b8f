"""diagnose: why a network does not learn, what should change, and proof that the change works."""

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.diagnose import diagnose
from chainrule.lens.diagnose.diagnosis import Diagnosis
from chainrule.lens.diagnose.finding import Change, Finding, Measured
from chainrule.lens.diagnose.rules.rule import Rule

__all__ = ["Case", "Change", "Diagnosis", "Finding", "Measured", "Rule", "diagnose"]
