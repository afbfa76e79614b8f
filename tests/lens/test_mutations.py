"""The mutation test: what is wrong in an operation is seen by the check of the step it touches.

For every differentiable operation of the registry a function that calls it, and adds up the result
with weights, is explained. As it is, everything holds. Then alterations are planted in the
derivative that runs, in the forward value and in the numbers on display; each that changes a value
by more than the check's stated bound makes that step's check fail, without exception.
"""

from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.lens.explain.record import record
from chainrule.lens.explain.steps.backward import backward_section
from chainrule.lens.explain.steps.differences import DerivativeClaim
from chainrule.lens.explain.steps.forward import FormulaClaim, forward_sections
from chainrule.ops.notation.tree import Datum, Expression, Rest
from chainrule.ops.operation import registry
from tests.ops.test_registry import OURS, at, floats, put, samples

OPERATIONS = [name for name, op in sorted(OURS.items()) if op.differentiable]


def _alterations(value):
    """What a mistake in a derivative makes of it, by the mistake's name."""
    yield "a factor of 1.01", value * 1.01
    yield "the wrong sign", -value
    yield "half", value / 2
    yield "nothing", np.zeros_like(value)
    yield "NaN", np.full_like(value, np.nan)
    if value.size > 1:
        yield "the mean everywhere", np.full_like(value, value.mean())
        yield "an offset", value + np.abs(value).max() / 8
        yield "backwards", value.reshape(-1)[::-1].reshape(value.shape).copy()
        for place in (int(np.argmax(np.abs(value))), value.size // 2):
            one = value.copy()
            one.reshape(-1)[place] += 0.01 * np.abs(value).max()
            yield f"element {place}", one
    if value.ndim > 1 and value.shape[-1] == value.shape[-2]:
        yield "transposed", np.swapaxes(value, -1, -2).copy()
    if value.ndim:
        yield "a sum along an axis", np.broadcast_to(value.sum(0), value.shape).copy()


def _function(op, args, kwargs, dtype):
    """(a function of the first floating-point operand, that operand; None where there is none):
    the others are constants that require gradients, too."""
    places = list(floats(args))
    leaves = [
        cr.asarray(np.array(at(args, place)).astype(dtype), requires_grad=True) for place in places
    ]

    def f(x):
        y = op(*put(args, places, [x, *leaves[1:]]), **kwargs)
        if y.dtype.kind == "c":
            # An eigenvector is determined up to a phase, on which a loss must not depend.
            y = cr.abs(y) ** 2 if op.name == "eig" else cr.real(y) + 2 * cr.imag(y)
        weights = np.cos(np.arange(1.0, y.size + 1)).reshape(y.shape)
        return cr.sum(y * weights.astype(y.dtype)) if y.dtype.kind == "f" else y

    return f, leaves[0] if leaves else None


def _recorded(op, args, kwargs, dtype=np.float64):
    """What `explain` starts from; None where the operation gives no floating-point number."""
    f, x = _function(op, args, kwargs, dtype)
    if x is None:
        return None
    recorded = record(f, x)
    return recorded if recorded.result.needs_grad else None


def _some(op) -> Iterator:
    """A sample or two of an operation: the first, and one that is broadcast or strided."""
    found = [s for s in samples(op) if any(np.size(at(s[0], p)) for p in floats(s[0]))]
    yield from found[:1]
    yield from found[4:5]


def _steps(recorded):
    """The steps of the backward pass that an operation's derivative gave, with their pullbacks."""
    claims = [
        (step, claim)
        for step in backward_section(recorded).walk()
        for claim in step.claims
        if isinstance(claim, DerivativeClaim)
    ]
    assert len(claims) == len(recorded.pullbacks)
    return [(*pair, p) for pair, p in zip(claims, recorded.pullbacks, strict=True)]


@pytest.mark.parametrize("name", OPERATIONS)
def test_whole_registry(name):
    """Unaltered, all holds; altered, the step's own check fails."""
    op = OURS[name]
    planted = caught = 0
    for args, kwargs in _some(op):
        recorded = _recorded(op, args, kwargs)
        if recorded is None:
            continue
        for section in forward_sections(recorded):
            for step in section.walk():
                assert step.verified, step.check
                if step.operation == name:
                    _forward_alterations_are_seen(step)
                for element in step.elements:
                    _numbers_are_seen(step, element)
        for step, claim, pullback in _steps(recorded):
            assert step.verified, (step.title, step.checks)
            if pullback.node.op is not op:
                continue
            for element in step.elements:
                _numbers_are_seen(step, element)
            bound = float(claim.slopes.bounds.max(initial=0.0)) + claim.check(step).difference
            for mistake, value in _alterations(step.value) if step.value.size else ():
                with np.errstate(all="ignore"):
                    change = np.abs(value - step.value).max()
                if not change <= bound:
                    planted += 1
                    altered = replace(step, value=value)
                    caught += not claim.check(altered).holds
                    assert not altered.verified, f"{mistake} in {step.title} is not seen"
    assert caught == planted


def _forward_alterations_are_seen(step):
    if not step.value.size or step.value.dtype.kind not in "fc":
        return
    (claim,) = [claim for claim in step.claims if isinstance(claim, FormulaClaim)]
    bound = claim.rounding + claim.check(step).difference
    for mistake, value in _alterations(step.value):
        with np.errstate(all="ignore"):
            change = np.abs(value - step.value).max()
        if not change <= bound and not np.array_equal(value, step.value, equal_nan=True):
            altered = replace(step, value=value)
            assert not claim.check(altered).holds, f"{mistake} in {step.title} is not seen"


def _numbers_are_seen(step, element):
    """Every number that is written is compared: the element itself, and each of its terms."""
    step = replace(step, value=None, claims=())
    assert element.check(step).holds
    bound = 2 * element.check(step).bound
    for changed, apart in _with_other_numbers(element.instance):
        if apart > bound:
            altered = replace(element, instance=changed)
            assert not altered.check(step).holds, f"a number of {step.name} can be altered"


def _with_other_numbers(instance):
    """(an altered instance, how far what is altered is off) for each of its numbers."""
    other = instance.value * 1.01 or 1.0
    yield replace(instance, value=other), abs(other - instance.value)
    for place, datum in enumerate(instance.data):
        if isinstance(datum.value, (bool, np.bool_)) or not np.isfinite(datum.value):
            continue
        other = replace(datum, value=datum.value * 1.01 or 0.25)
        changed = replace(instance, written=_put(instance.written, place, other)[0])
        named = isinstance(datum, Datum) and bool(datum.name) and datum.position >= 0
        with np.errstate(all="ignore"):
            off = abs(changed.recomputed() - instance.recomputed())
        yield changed, max(off, abs(other.value - datum.value) if named else 0.0)


def _put(part, place, other):
    """An expression with another number in a place, counted from left to right."""
    if isinstance(part, (Datum, Rest)):
        return (other if place == 0 else part), place - 1
    changed = {}
    for entry in fields(part):
        found = getattr(part, entry.name)
        several = isinstance(found, tuple)
        items = []
        for item in found if several else (found,):
            if isinstance(item, Expression):
                item, place = _put(item, place, other)
            items.append(item)
        changed[entry.name] = tuple(items) if several else items[0]
    return type(part)(**changed), place


# Planted where it runs


PLANTED = {
    "tanh": lambda g: g * 1.01,
    "linear": lambda g: g * 2,
    "batch_norm": lambda g: g + 0.1,
    "drop": lambda g: g / 2,
    "softmax_cross_entropy": lambda g: -g,
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_wrong_derivative_in_a_network(name, monkeypatch):
    """Planted in the derivative that training runs, seen at its steps, and nowhere else."""
    op = registry[name]
    right = op.pull

    def wrong(*args):
        return [None if g is None else PLANTED[name](g) for g in right(*args)]

    cr.seed(0)
    model = nn.Sequential(
        nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Linear(4, 2)
    )
    x, y = np.random.default_rng(0).normal(size=(6, 3)), np.arange(6) % 2
    model.to(cr.float64)
    assert cr.explain(model, x, y, loss=nn.cross_entropy, training=True).verified
    monkeypatch.setattr(op, "pull", wrong)
    found = cr.explain(model, x, y, loss=nn.cross_entropy, training=True)
    assert not found.verified
    assert {step.operation for step in found.failed} == {name}


def test_a_wrong_value_in_a_network(monkeypatch):
    op = registry["linear"]
    right = op.run

    def wrong(values, attrs):
        y, residual = right(values, attrs)
        y[0, 0] += 0.01
        return y, residual

    cr.seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x, y = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32), np.arange(6) % 2
    monkeypatch.setattr(op, "run", wrong)
    found = cr.explain(model, x, y, loss=nn.cross_entropy)
    assert {step.operation for step in found.failed} == {"linear"}


def test_a_path_that_is_left_out(monkeypatch):
    """A residual's gradient is the sum over two paths."""
    cr.seed(0)
    layer = nn.Linear(3, 3)
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)

    def residual(x):
        z = layer(x)
        return cr.sum((z + cr.tanh(z)) ** 2)

    recorded = record(residual, x, names={})
    x = cr.asarray(x, requires_grad=True)
    recorded = record(residual, x)
    (step,) = [s for s in backward_section(recorded).walk() if "sum over" in s.title]
    assert step.verified
    share = recorded.pullbacks[-1]
    assert len(step.operands) == 2
    assert not replace(step, value=step.value - share.value.sum()).verified
