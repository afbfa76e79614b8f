"""Operations that are made of others are opened: the steps of a definition end in its value."""

from dataclasses import replace

import numpy as np
import pytest

from chainrule.lens.explain.record import record
from chainrule.lens.explain.steps.opening import expanded
from chainrule.ops.composite import Composite
from tests.ops.test_registry import OURS, samples

CASES = [
    pytest.param(op, args, kwargs, id=f"{name}-{i}")
    for name, op in sorted(OURS.items())
    if isinstance(op, Composite)
    for i, (args, kwargs) in enumerate(samples(op)[:2])
]


@pytest.mark.parametrize(("op", "args", "kwargs"), CASES)
def test_the_definition_ends_in_the_value(op, args, kwargs):
    def run(*_):
        return op(*args, **kwargs)

    recorded = record(run, np.zeros(1))
    node = recorded.result
    assert node.op is op
    steps = list(expanded(recorded, node).walk())
    assert all(step.verified for step in steps), [s.title for s in steps if not s.verified]
    last = steps[-1]
    if last.value.size and last.value.dtype.kind == "f":
        assert not replace(last, value=last.value * 1.01 + 0.01).verified
