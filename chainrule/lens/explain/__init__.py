"""`explain`: the mathematics of your own network, number by number, each one checked."""

from chainrule.lens.explain.derivation import Derivation, Step
from chainrule.lens.explain.forward import explain

__all__ = ["Derivation", "Step", "explain"]
