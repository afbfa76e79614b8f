"""Simplification: the graph means what it meant, and has fewer nodes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

import chainrule as cr
from chainrule.compile import rules
from chainrule.compile.compiled import Compiled
from chainrule.compile.program import Argument
from chainrule.compile.simplify import simplify
from tests.compile.comparing import silent
from tests.compile.graphs import graphs
from tests.compile.interpreter import interpret


def both(function, *args):
    """(a program, the same simplified, its nodes)."""
    compiled = Compiled(function, backend=interpret)
    with silent():
        compiled(*args)
    program = compiled._latest().executable.program
    nodes, stands = simplify([*program.outputs, *(node for _, node in program.writes)])
    rewritten = replace(
        program,
        outputs=[stands[n] for n in program.outputs],
        writes=[(storage, stands[n]) for storage, n in program.writes],
    )
    return program, rewritten, nodes


def left(function, *args):
    """The operations that are left of a function."""
    return [n.op.name for n in both(function, *args)[2] if n.op is not None]


def results(program, args, streams=()):
    """What a program gives and writes; what it writes to is as before afterwards."""
    written = [storage.array for storage, _ in program.writes]
    kept = [x.copy() for x in written]
    with silent():
        arrays = [args[source.position].numpy() for _, source in program.inputs
                  if isinstance(source, Argument)]  # fmt: skip
        found = interpret(program).run(arrays, [], streams)
    found += [x.copy() for x in written]
    for x, before in zip(written, kept, strict=True):
        x[...] = before
    return found


def equal(found, wanted, *, signs=True):
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == wanted.dtype
    if signs and wanted.dtype.kind in "fc":
        for part in ("real", "imag"):
            a, b = getattr(found, part), getattr(wanted, part)
            real = ~np.isnan(b)
            np.testing.assert_array_equal(np.signbit(a)[real], np.signbit(b)[real])


def floats(*shape, seed=0):
    return cr.asarray(np.random.default_rng(seed).standard_normal(shape).astype("f4"))


HARD = cr.asarray(np.array([[0.0, -0.0, 1.0, -2.5], [np.inf, -np.inf, np.nan, 1e-42]], "f4"))

RULES = {
    "nothing_done": (lambda x: -cr.stop_gradient(+x), ["negative"]),
    "nothing_changed": (
        lambda x: -cr.reshape(cr.astype(x, cr.float32, copy=True), (2, 4)),
        ["negative"],
    ),
    "axes_in_order": (
        lambda x: -cr.permute_dims(cr.permute_dims(x[None], (2, 0, 1)), (1, 2, 0)),
        ["getitem", "negative"],
    ),
    "product_of_one_term": (
        lambda x: cr.matmul(cr.reshape(x, (8, 1)), cr.reshape(x, (1, 8))),
        ["reshape", "reshape", "multiply"],
    ),
    "product_transposed": (
        lambda x: cr.permute_dims(cr.matmul(x.mT, x + x), (1, 0)),
        ["add", "permute_dims", "matmul"],
    ),
    "reshaped_twice": (
        lambda x: -cr.reshape(cr.reshape(x, (4, 2)), (8,)),
        ["reshape", "negative"],
    ),
    "sum_of_one": (lambda x: -cr.sum(x[:, None], axis=1), ["getitem", "reshape", "negative"]),
    "twice_negated": (lambda x: cr.abs(cr.negative(-x)), ["abs"]),
    "times_one": (lambda x: -(1 * (x * cr.broadcast_to(cr.asarray(1.0), (1, 4)))), ["negative"]),
    "over_one": (lambda x: -(x / cr.broadcast_to(cr.asarray(1.0), (1, 4))), ["negative"]),
    "minus_zero": (lambda x: -(x - 0.0), ["negative"]),
}
"""For each rule a function to which it applies, and the operations that it leaves."""


def test_every_rule_is_tried():
    assert {r.__name__ for found in rules.RULES.values() for r in found} == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_keeps_the_value_and_saves_work(name, monkeypatch):
    function, expected = RULES[name]
    for x in (floats(2, 4), HARD):
        program, rewritten, _ = both(function, x)
        # A sum of the one term −0 is 0 in NumPy.
        signs = name not in ("product_of_one_term", "sum_of_one")
        if name == "product_transposed":
            if x is not HARD:  # the terms are added in another order
                np.testing.assert_allclose(
                    results(rewritten, [x])[0], results(program, [x])[0], 1e-6
                )
        else:
            equal(results(rewritten, [x])[0], results(program, [x])[0], signs=signs)
    assert left(function, floats(2, 4)) == expected
    without = {op: [r for r in found if r.__name__ != name] for op, found in rules.RULES.items()}
    monkeypatch.setattr("chainrule.compile.simplify.RULES", without)
    assert left(function, floats(2, 4)) != expected


COMPLEX = cr.asarray(np.array([complex(np.inf, 0), complex(-0.0, -0.0), 1 + 2j]))
WHOLE = cr.asarray(np.arange(-4, 4, dtype="i4"))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + 0.0,
        lambda x: 0.0 - x,
        lambda x: x - (-0.0),
        lambda x: 0.0 * x,
        lambda x: x - x,
        lambda x: x / x,
        lambda x: 1.0 / (1.0 / x),
        lambda x: x * cr.ones((3, 1, 1)),
        lambda x: x * cr.asarray(1.0, dtype=cr.float64),
        lambda x: cr.astype(cr.astype(x, cr.float16), cr.float32),
        lambda x: cr.sqrt(x) ** 2,
        lambda x: cr.permute_dims(cr.permute_dims(x[None], (2, 0, 1)), (2, 0, 1)),
        lambda x: cr.sum(x, axis=(0,), keepdims=True, dtype=cr.float64),
    ],
)
def test_what_does_not_hold_for_every_number_is_left_alone(function):
    program, rewritten, _ = both(function, HARD)
    equal(results(rewritten, [HARD])[0], results(program, [HARD])[0])


@pytest.mark.parametrize("x", [COMPLEX, WHOLE])
@pytest.mark.parametrize(
    "function",
    [lambda x: x * 1, lambda x: 1 * x, lambda x: x / 1, lambda x: x - 0, lambda x: cr.negative(-x)],
)
def test_rules_in_other_dtypes(function, x):
    program, rewritten, _ = both(function, x)
    equal(results(rewritten, [x])[0], results(program, [x])[0])


def test_what_is_there_already_is_not_computed_again():
    def f(x, y):
        a = cr.sin(x) * y + cr.sum(x, axis=0)
        b = cr.sin(x) * y + cr.sum(x, axis=0)
        return a, b, cr.sum(x, axis=1), cr.sin(y)

    program, rewritten, nodes = both(f, floats(4, 4), floats(4, 4, seed=1))
    assert rewritten.outputs[0] is rewritten.outputs[1]
    assert sorted(n.op.name for n in nodes if n.op) == [
        "add", "multiply", "sin", "sin", "sum", "sum",
    ]  # fmt: skip
    assert len(program.nodes()) > len(nodes)


def test_values_of_other_kinds_are_told_apart():
    """Numbers, dtypes and attributes that compare as equal, and are not."""

    def f(x, h):
        return (
            x * 0.0, x * -0.0, h * 2.0, h * cr.asarray(2.0, dtype=cr.float32),
            cr.sum(x, axis=0), cr.sum(x, axis=0, keepdims=True), cr.max(x, axis=0),
            cr.sum(x, axis=1),
        )  # fmt: skip

    args = floats(4, 4), cr.astype(floats(3), cr.float16)
    program, rewritten, _ = both(f, *args)
    assert len(set(rewritten.outputs)) == 8
    for found, wanted in zip(results(rewritten, args), results(program, args), strict=True):
        equal(found, wanted)


def test_draws_and_leaves_are_never_made_one():
    def f(x, y):
        return cr.random.uniform((3,)) + x, cr.random.uniform((3,)) + x, y * 1

    program, rewritten, nodes = both(f, floats(3), floats(3))
    assert [n.op.name for n in nodes if n.op].count("random_uniform") == 2
    assert sum(n.op is None for n in nodes) == 2
    streams = [(5, 0)] * program.streams
    args = floats(3), floats(3)
    found = results(rewritten, args, streams)
    assert not np.array_equal(found[0], found[1])
    for a, b in zip(found, results(program, args, streams), strict=True):
        equal(a, b)


def test_what_no_result_needs_is_gone():
    def f(x):
        cr.exp(x) @ x
        y = cr.sin(x)
        cr.sum(y)
        return y

    assert left(f, floats(3, 3)) == ["sin"]


def test_constants_are_computed_once():
    table = np.random.default_rng(0).standard_normal((30, 3)).astype("f4")

    def f(x):
        scale = cr.sqrt(cr.broadcast_to(cr.asarray(4.0), (1000, 1000))) * 3 + cr.asarray(
            1
        )  # the same everywhere
        rows = cr.sum(cr.exp(cr.asarray(table)), axis=0)
        return x * scale[:1, :3] + rows

    program, rewritten, nodes = both(f, floats(3))
    assert [n.op.name for n in nodes if n.op and n.op.name not in ("broadcast_to", "getitem")] == [
        "multiply", "add",
    ]  # fmt: skip
    assert all(n.value.size < 100 for n in nodes if n.value is not None)
    equal(results(rewritten, [floats(3)])[0], results(program, [floats(3)])[0])


def test_large_constants_are_left_to_the_call():
    big = np.ones((300, 300), np.float32) * np.arange(300, dtype="f4")
    assert big.size > rules.FOLDED
    assert left(lambda x: x + cr.exp(cr.asarray(big)), floats(300)) == ["exp", "add"]


def test_a_graph_of_any_depth_is_walked():
    def f(x):
        for _ in range(5000):
            x = cr.sin(x)
        return x

    assert len(left(f, floats(2))) == 5000


@settings(max_examples=150)
@given(graphs())
def test_random_graphs_mean_what_they_meant(graph):
    args, cells = [cr.asarray(x) for x in graph.arrays(np.float64)], graph.cells(np.float64)
    try:
        with silent():
            program, rewritten, nodes = both(graph.function(cells), *args)
    except cr.ChainruleError:
        return
    for found, wanted in zip(results(rewritten, args), results(program, args), strict=True):
        size = np.max(np.abs(wanted), initial=1, where=np.isfinite(wanted))
        np.testing.assert_allclose(found, wanted, 1e-12, 1e-12 * size)
    assert len(nodes) <= len(program.nodes()) + 2  # transposes of a product's operands
