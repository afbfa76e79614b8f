"""`explain`: the mathematics of your own network, number by number, each one checked."""

from chainrule.lens.explain.derivation import Check, Derivation, Element, Section, Step
from chainrule.lens.explain.explanation import Explanation, explain
from chainrule.lens.explain.questions.bayes import bayes, confusion_matrix
from chainrule.lens.explain.questions.broadcasting import broadcast

__all__ = [
    "Check",
    "Derivation",
    "Element",
    "Explanation",
    "Section",
    "Step",
    "bayes",
    "broadcast",
    "confusion_matrix",
    "explain",
]
