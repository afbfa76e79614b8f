"""What a trace records: the contract of a Program, which a backend relies on."""

import functools

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.compile.compiled import compile as compile_with
from chainrule.compile.program import Argument, Captured, Gradient, Scalar, Storage, Stream
from tests.compile.interpreter import interpret

compiled = functools.partial(compile_with, backend=interpret)


def program_of(function, *args):
    f = compiled(function)
    f(*args)
    return f._last.program


def names(program):
    return [node.op.name for node in program.nodes() if node.op is not None]


def test_leaves_say_where_their_values_come_from():
    w, c = nn.Parameter(cr.ones(2)), cr.asarray([3.0, 4.0])
    opt = optim.Adam([w], lr=0.1)

    def f(unused, x):
        (w * x * c * cr.ones(2)).sum().backward()
        opt.step()
        return x

    program = program_of(f, cr.ones(()), cr.ones(2))
    sources = [source for _, source in program.inputs]
    assert sources[0] == Argument(1)
    assert [s.array is w._value for s in sources if isinstance(s, Storage)].count(True) == 1
    assert [s.tensor() is c for s in sources if isinstance(s, Captured)] == [True]
    assert {s.index for s in sources if isinstance(s, Scalar)} <= set(range(program.scalars))
    assert all(n.shape == () for n, s in program.inputs if isinstance(s, Scalar))
    state = opt.state[w]
    written = [storage.array for storage, _ in program.writes]
    assert [any(a is b for b in written) for a in (w._value, *list(state.values())[2:])] == [
        True
    ] * 3
    leaves = {node for node, _ in program.inputs}
    for node in program.nodes():
        assert node.op is not None or node in leaves or node.value is not None
    for storage, node in program.writes:
        assert (storage.array.shape, storage.array.dtype) == (node.shape, node.dtype)
        assert storage.array.flags.c_contiguous


def test_the_nodes_come_in_an_order_in_which_they_can_be_computed():
    program = program_of(cr.grad(lambda x: (cr.sin(x) * x).sum()), cr.ones(3))
    seen = set()
    for node in program.nodes():
        assert all(n in seen for n in node.inputs if n is not None)
        seen.add(node)


def test_what_is_not_used_is_no_part():
    def f(x, y):
        cr.exp(y)
        return x + 1

    program = program_of(f, cr.ones(2), cr.ones(3))
    assert names(program) == ["add"]
    assert [source for _, source in program.inputs] == [Argument(0)]


def test_python_numbers_have_the_dtype_that_they_are_computed_in():
    for x, y in ((cr.ones(2), 2), (cr.asarray([1, 2]), 3), (cr.ones(2, dtype=cr.float64), 0.1)):
        program = program_of(lambda x, y=y: x * y > y, x)
        numbers = [n for n in program.nodes() if n.value is not None]
        assert [n.dtype for n in numbers] == [x.dtype] * 2


def test_random_operations_count_from_the_generator():
    mine = cr.Generator(1)

    def f(x):
        return (
            cr.random.uniform((5,)),
            cr.random.bernoulli(0.5, (8,), generator=mine),
            (cr.random.normal((3,))),
        )

    program = program_of(f, cr.ones(()))
    assert program.streams == 2
    drawn = [(n.attrs["key"], n.attrs["counter"]) for n in program.outputs]
    assert drawn == [(Stream(0), 0), (Stream(1), 0), (Stream(0), 2)]


def test_gradients_that_were_there_are_inputs():
    w = nn.Parameter(cr.ones(2))
    w.grad = cr.asarray([1.0, 2.0])
    f = compiled(lambda x: (w * x).sum().backward())
    f(cr.ones(2))
    assert [s for _, s in f._last.program.inputs if isinstance(s, Gradient)]
    assert w.grad.tolist() == [2.0, 3.0]
    f(cr.ones(2))
    assert w.grad.tolist() == [3.0, 4.0]
    assert f.traces == 1


def test_composites_are_expanded_unless_they_are_kept():
    x = cr.asarray([[1.0, 2.0]])
    assert "softmax" not in names(program_of(cr.softmax, x))
    assert "softmax" not in names(program_of(lambda x: cr.jvp(cr.softmax, (x,), (x,)), x))
    weight = nn.Parameter(cr.ones((2, 2)))
    assert "softmax" not in names(program_of(lambda x: cr.softmax(weight), x))


def test_operations_keep_their_place_and_module():
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    program = program_of(lambda x: model(x), cr.ones((1, 2)))
    tanh = next(n for n in program.nodes() if n.op is not None and n.op.name == "tanh")
    assert tanh.scope.path() == "1"
    assert tanh.place[0].co_filename == __file__


def test_a_step_of_adam_is_the_formula():
    w = nn.Parameter(cr.ones(2))
    opt = optim.Adam([w], lr=0.1)

    def f(g):
        w.grad = g
        opt.step()

    program = program_of(f, cr.ones(2))
    np.testing.assert_array_less(w.numpy(), 1.0)
    assert names(program) == [
        "multiply", "multiply", "add", "multiply", "multiply", "multiply", "add", "sqrt", "add",
        "divide", "multiply", "subtract", "identity",
    ]  # fmt: skip
