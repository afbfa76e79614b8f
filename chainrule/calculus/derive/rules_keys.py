"""Rules for parts of arrays: reading back what was put."""

from __future__ import annotations

import math

import numpy as np

from chainrule.calculus.derive.reading import reshaped
from chainrule.calculus.derive.rules import rule
from chainrule.calculus.derive.rules_softmax import called
from chainrule.calculus.derive.terms import Applied, Term, zero
from chainrule.ops.indexing import _key


@rule("what was put there is read back")
def read_back(t: Term) -> Term | None:
    """(zeros with g at some places)[other places]: g, or 0."""
    if not called(t, "getitem") or not called(t.args[0], "add_at"):
        return None
    put = t.args[0]
    assert isinstance(t, Applied)
    assert isinstance(put, Applied)
    if len(t.args) > 1 or len(put.args) > 1:
        return None
    (g,) = put.args
    places = np.full(put.shape, -1)
    places[_key(put.attrs["pattern"], ())] = np.arange(math.prod(g.shape)).reshape(g.shape)
    seen = places[_key(t.attrs["pattern"], ())]
    if (seen == -1).all():
        return zero(t.shape)
    whole = seen.size == math.prod(g.shape) and (seen.reshape(-1) == np.arange(seen.size)).all()
    return reshaped(g, t.shape) if whole else None
