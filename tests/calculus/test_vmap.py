"""vmap against a loop over examples: of every registered operation, and of whole functions."""

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn, optim
from chainrule.ops.batching import one_by_one
from chainrule.tensor.graph import FULL, OFF, recording
from chainrule.tensor.tensor import Tensor
from tests.ops.each import on_each
from tests.ops.test_registry import CASES, OURS

SIZE = 3


def close(found, wanted, rtol=1e-10, atol=1e-11):
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol, atol)


def examples(operand, rng):
    """SIZE examples like an operand: near it where it is floating-point, in another order else."""
    x = operand.numpy()
    rows = [x]
    for i in range(1, SIZE):
        if x.dtype.kind in "fc":
            rows.append((x * (1 + 0.01 * i)).astype(x.dtype))
        else:
            rows.append(x.reshape(-1)[rng.permutation(x.size)].reshape(x.shape))
    return np.stack(rows)


def which(inputs, rng):
    """Which operands have examples: all; each alone."""
    places = [i for i, o in enumerate(inputs) if isinstance(o, Tensor)]
    found = [tuple(places)] if places else []
    if len(places) > 1:
        found += [(i,) for i in places]
    return found


@on_each(CASES)
@pytest.mark.parametrize("depth", [OFF, FULL])
def test_every_operation_against_a_loop(op, args, kwargs, depth):
    """Its batching rule, for examples in every operand and in each alone."""
    rng = np.random.default_rng(0)
    with recording(FULL):
        node = op(*args, **kwargs)._node
    if node.op is not op:  # arguments are checked and handed on to another operation
        return
    inputs = [cr.asarray(e) if isinstance(e, np.ndarray) else e
              for e in node.saved[: len(node.inputs)]]  # fmt: skip
    for places in which(inputs, rng):
        given = list(inputs)
        for i in places:
            given[i] = cr.asarray(examples(inputs[i], rng))
        batched = [i in places for i in range(len(inputs))]
        try:
            with recording(OFF):
                wanted = one_by_one(op, given, batched, node.attrs, SIZE)
        except cr.ChainruleError:  # other indices, or another order, than the operation takes
            continue
        with recording(depth):
            found = op.batch(given, batched, node.attrs, SIZE)
        close(found, wanted, 1e-9, 1e-10)
        empty = [g[:0] if b else g for g, b in zip(given, batched, strict=True)]
        assert op.batch(empty, batched, node.attrs, 0).shape == (0, *wanted.shape[1:])


SLOW = {name for name, op in OURS.items() if op.batching is None and op.kind != "composite"}


def test_common_operations_have_a_rule():
    """What runs example by example is right, and slow: no operation that networks are made of."""
    assert not SLOW & {
        "matmul", "reshape", "permute_dims", "sum", "max", "min", "prod", "getitem", "setitem",
        "add_at", "concat", "where", "convolve", "convolve_input", "convolve_weight", "windows",
        "add_windows", "pool_places", "pool_pick", "pool_spread", "cumulative_sum", "flip",
        "broadcast_to", "sum_to", "astype", "pad_zeros", "argmax", "any", "all",
    }  # fmt: skip


@st.composite
def keys(draw):
    """(shape, a function from an integer seed to a key for it, so that examples have their own)."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    parts = []
    rank = draw(st.integers(0, 2))
    for n in shape[: draw(st.integers(1, len(shape)))]:
        kind = draw(st.sampled_from(["slice", "whole", "shared", "own", "own"]))
        if kind == "slice":
            parts.append(slice(None, None, draw(st.sampled_from([1, -1, 2]))))
        elif kind == "whole":
            parts.append(draw(st.integers(-n, n - 1)))
        else:
            size = tuple(draw(st.sampled_from([1, 2])) for _ in range(rank))
            parts.append((kind, n, size, draw(st.integers(0, 99))))
        if draw(st.integers(0, 5)) == 0:
            parts.append(None)
    if draw(st.booleans()):
        parts.append(Ellipsis)
    return shape, parts


def arrays_of(parts, i):
    found = []
    for part in parts:
        if isinstance(part, tuple):
            kind, n, size, seed = part
            rng = np.random.default_rng(seed + (i if kind == "own" else 0))
            found.append(rng.integers(-n, n, size))
    return found


def key_of(parts, arrays):
    rest = iter(arrays)
    return tuple(next(rest) if isinstance(p, tuple) else p for p in parts)


@settings(max_examples=80, deadline=None)
@given(keys())
def test_reading_and_writing_at_any_key(drawn):
    shape, parts = drawn
    x = cr.asarray(np.random.default_rng(0).standard_normal((SIZE, *shape)))
    each = [arrays_of(parts, i) for i in range(SIZE)]
    owned = [p[0] == "own" for p in parts if isinstance(p, tuple)]
    axes = [0 if own else None for own in owned]
    given_arrays = [
        cr.asarray(np.stack(column) if own else column[0])
        for own, column in zip(owned, zip(*each, strict=True), strict=True)
    ]

    def read(x, *arrays):
        return x[key_of(parts, arrays)]

    def write(x, *arrays):
        y = x * 1.0
        y[key_of(parts, arrays)] = read(x, *arrays) * 0.5 + 1
        return y

    for f in (read, write, cr.grad(lambda *a: (read(*a) ** 3).sum())):
        for axis in (0, None):
            wanted = np.stack([
                np.asarray(f(x[i] if axis == 0 else x[0], *each[i])) for i in range(SIZE)
            ])  # fmt: skip
            if axis is None and not any(owned):
                continue
            first = x if axis == 0 else x[0]
            close(cr.vmap(f, (axis, *axes))(first, *given_arrays), wanted)


def loop(f, *xs):
    return np.stack([np.asarray(f(*(x[i] for x in xs))) for i in range(xs[0].shape[0])])


RNG = np.random.default_rng(1)
X = RNG.standard_normal((4, 3))
W = cr.asarray(RNG.standard_normal((3, 3)))


def network(x):
    return cr.softmax(cr.tanh(x @ W) @ W.mT + x[0])


FUNCTIONS = {
    "network": network,
    "loss": lambda x: (network(x) ** 2).sum(),
    "branch": lambda x: cr.where(x > 0, cr.exp(x), cr.sin(x)),
    "cond": lambda x: cr.cond(x[0] > 0, lambda v: v * 2, lambda v: v**2, x),
    "scan": lambda x: cr.scan(lambda c, v: (c * 0.5 + v, c * v), cr.asarray(np.float64(1)), x)[1],
    "index": lambda x: x[::-1][cr.asarray([0, 2, 2])] * x[-1],
    "own index": lambda x: x[cr.argmax(x)] + cr.take_along_axis(x, cr.argmin(x, keepdims=True))[0],
    "update": lambda x: cr.scatter_add(x, 0, cr.argmax(x, keepdims=True), x[:1]),
    "no tensor of its own": lambda x: cr.asarray(np.float64(2.0)),
    "updates a new tensor": None,
}


def _fills(x):
    out = cr.zeros((2, 3), dtype=cr.float64)
    out[1] = x
    out[0, cr.argmax(x)] = 5.0
    return out


FUNCTIONS["updates a new tensor"] = _fills


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_against_a_loop(f):
    x = cr.asarray(X)
    close(cr.vmap(f)(x), loop(f, x))


SCALAR = {k: (lambda x, f=f: cr.sum(f(x) * f(x))) for k, f in FUNCTIONS.items() if "no" not in k}


@pytest.mark.parametrize("f", SCALAR.values(), ids=SCALAR)
def test_gradients_of_each_example(f):
    x = cr.asarray(X)
    close(cr.vmap(cr.grad(f))(x), loop(cr.grad(f), x))
    close(cr.vmap(cr.grad(cr.grad(lambda x: f(x) if x.ndim else f(x * cr.asarray(X[0])))))(x[:, 0]),
          loop(cr.grad(cr.grad(lambda s: f(s * cr.asarray(X[0])))), x[:, 0]))  # fmt: skip


@pytest.mark.parametrize("f", SCALAR.values(), ids=SCALAR)
def test_inside_of_a_gradient(f):
    x = cr.asarray(X)
    close(cr.grad(lambda x: cr.vmap(f)(x).sum())(x), loop(cr.grad(f), x))
    v = cr.asarray(np.cos(X))
    _, tangent = cr.jvp(cr.vmap(f), (x,), (v,))
    close(tangent, loop(lambda x, v: cr.jvp(f, (x,), (v,))[1], x, v))
    close(cr.vmap(lambda x, v: cr.jvp(f, (x,), (v,))[1])(x, v), tangent)


@pytest.mark.parametrize(
    "f", [f for k, f in SCALAR.items() if k not in ("update",)],
    ids=[k for k in SCALAR if k not in ("update",)],
)  # fmt: skip
def test_compiled(f):
    x = cr.asarray(X)
    close(cr.compile(cr.vmap(f))(x), loop(f, x), 1e-9)
    close(cr.compile(cr.vmap(cr.grad(f)))(x), loop(cr.grad(f), x), 1e-9)


def test_nested():
    a, b = cr.asarray(X), cr.asarray(X[:2] + 1)
    pairs = cr.vmap(lambda u: cr.vmap(lambda v: cr.dot(u, v) * u[0])(b))(a)
    close(pairs, np.asarray(a) @ np.asarray(b).T * np.asarray(a)[:, :1])
    inner = cr.grad(lambda a: cr.vmap(lambda u: cr.vmap(lambda v: cr.dot(u, v))(b).sum())(a).sum())
    close(inner(a), np.broadcast_to(np.asarray(b).sum(0), (4, 3)))
    three = cr.vmap(cr.vmap(cr.vmap(lambda s: s * s)))(cr.ones((2, 3, 4)))
    assert three.shape == (2, 3, 4)


def test_axes_in_and_out():
    x = cr.asarray(RNG.standard_normal((2, 4, 3)))
    f = lambda a, b: (a + b, {"two": a * 2})  # noqa: E731
    y, rest = cr.vmap(f, in_axes=(1, None), out_axes=(-1, {"two": 0}))(x, 1.0)
    close(y, np.moveaxis(np.asarray(x), 1, -1) + 1)
    close(rest["two"], np.moveaxis(np.asarray(x), 1, 0) * 2)
    close(cr.vmap(lambda p: p["w"] * p["s"], in_axes=({"w": -1, "s": None},))(
        {"w": x, "s": cr.asarray(2.0)}), np.moveaxis(np.asarray(x), -1, 0) * 2)  # fmt: skip
    shared = cr.vmap(lambda v: (v, cr.ones((2,))), out_axes=(0, None))(x)[1]
    assert shared.shape == (2,)
    assert cr.vmap(lambda v: None)(x) is None


def test_each_example_draws_its_own_numbers():
    cr.seed(3)
    found = cr.vmap(lambda x: x + cr.random.normal((5,)))(cr.zeros((4,)))
    assert len({row[0].item() for row in found}) == 4
    cr.seed(3)
    assert bool((found == cr.random.normal((4, 5))).all())
    both = cr.vmap(lambda r: cr.vmap(lambda x: cr.random.uniform())(r))(cr.zeros((3, 2)))
    assert len(set(both.numpy().reshape(-1).tolist())) == 6
    x = cr.ones((3, 200))
    kept = cr.vmap(lambda v: cr.dropout(v, 0.5))(x).numpy()
    assert not (kept[0] == kept[1]).all()
    gradients = cr.vmap(cr.grad(lambda v: cr.dropout(v, 0.5).sum()))(x).numpy()
    assert set(np.unique(gradients)) == {0.0, 2.0}
    compiled = cr.compile(cr.vmap(lambda x: cr.random.uniform() + x))
    cr.seed(3)
    first = compiled(cr.zeros((4,)))
    cr.seed(3)
    close(first, cr.random.uniform((4,)))


def test_gradients_of_parameters_around_it():
    w = cr.asarray([1.0, 2.0, 3.0], requires_grad=True)
    x = cr.asarray(X.astype(np.float32))
    cr.vmap(lambda v: (v * w).sum() ** 2)(x).sum().backward()
    wanted = 2 * (np.asarray(x) * np.asarray(x) @ w.numpy()[:, None] * 0 + np.asarray(x) * (
        np.asarray(x) @ w.numpy())[:, None]).sum(0)  # fmt: skip
    np.testing.assert_allclose(w.grad.numpy(), wanted, 1e-5)


def test_what_no_grad_hides_stays_hidden():
    def f(x):
        with cr.no_grad():
            hidden = x * x
        return hidden * x + cr.stop_gradient(x)

    x = cr.asarray([2.0, 3.0])
    close(cr.grad(lambda x: cr.vmap(f)(x).sum())(x), np.array([4.0, 9.0], np.float32))


def test_a_parameter_that_is_written_to_is_refused_afterwards():
    model = nn.Linear(2, 1, bias=False)
    loss = cr.vmap(lambda x: (model(x) ** 2).sum())(cr.ones((3, 2))).sum()
    with cr.no_grad():
        model.weight.assign(model.weight * 2)
    with pytest.raises(cr.GradientError, match="written to since"):
        loss.backward()


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.LayerNorm(5), nn.Linear(5, 3)),
            (6,)),
    "cnn": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                                  nn.Flatten(0), nn.Linear(16, 3)), (2, 4, 4)),
    "attention": (lambda: nn.Sequential(nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0),
                                        nn.Flatten(0), nn.Linear(18, 3)), (3, 6)),
    "embedding": (lambda: nn.Sequential(nn.Embedding(7, 4), nn.Flatten(0), nn.Linear(8, 3)),
                  None),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_a_model_for_each_example(name):
    cr.seed(0)
    make, shape = MODELS[name]
    model = make()
    parameters = {n: cr.asarray(p.numpy().astype(np.float64)) for n, p in model.named_parameters()}
    rng = np.random.default_rng(0)
    x = rng.integers(0, 7, (5, 2)) if shape is None else rng.standard_normal((5, *shape))
    x, y = cr.asarray(x), cr.asarray(rng.integers(0, 3, 5))

    def loss(parameters, x, y):
        return nn.cross_entropy(nn.functional_call(model, parameters, (x,)), y)

    found = cr.vmap(cr.grad(loss), in_axes=(None, 0, 0))(parameters, x, y)
    for i in range(5):
        wanted = cr.grad(loss)(parameters, x[i], y[i])
        for key, g in wanted.items():
            close(found[key][i], g, 1e-9, 1e-11)
    half = cr.compile(cr.vmap(cr.grad(loss), in_axes=(None, 0, 0)))(parameters, x, y)
    for key, g in found.items():
        close(half[key], g, 1e-8, 1e-10)


def clipped_step(model, opt):
    """A training step in which the gradient of each example is made no longer than 1/2."""

    def loss(parameters, x, y):
        return nn.cross_entropy(nn.functional_call(model, parameters, x), y)

    def step(x, y):
        parameters = dict(model.named_parameters())
        each = cr.vmap(cr.grad(loss), in_axes=(None, 0, 0))(parameters, x, y)
        squares = [(g.reshape(len(x), -1) ** 2).sum(1) for g in each.values()]
        scale = cr.minimum(1.0, 0.5 / cr.sqrt(sum(squares) + 1e-12))
        for name, p in parameters.items():
            g = each[name]
            p.grad = (g * scale.reshape(-1, *(1,) * (g.ndim - 1))).mean(0)
        opt.step()
        return sum(squares).mean()

    return step


def test_a_training_step_with_a_gradient_for_each_example():
    rng = np.random.default_rng(0)
    x, y = cr.asarray(rng.normal(size=(8, 6)).astype(np.float32)), cr.asarray(rng.integers(0, 3, 8))
    found = []
    for compiled in (False, True):
        cr.seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))
        step = clipped_step(model, optim.SGD(model.parameters(), lr=0.1))
        step = cr.compile(step) if compiled else step
        losses = [step(x, y).item() for _ in range(4)]
        found.append((losses, model[0].weight.numpy(copy=True)))
    np.testing.assert_allclose(found[0][0], found[1][0], 1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], 1e-5, 1e-6)


@pytest.mark.parametrize(
    ("layer", "x"),
    [(nn.Linear(3, 2), cr.ones((5, 3))), (nn.Conv2d(2, 4, 3), cr.ones((5, 2, 6, 6)))],
)
def test_many_models_at_once(layer, x):
    both = {n: cr.stack([p, p * 2]) for n, p in layer.named_parameters()}
    found = cr.vmap(lambda p: nn.functional_call(layer, p, x))(both)
    np.testing.assert_allclose(found[0].numpy(), layer(x).numpy(), 1e-5)
    np.testing.assert_allclose(found[1].numpy(), 2 * layer(x).numpy(), 1e-5)


def test_a_wrong_label_is_still_seen():
    logits, labels = cr.zeros((3, 4)), cr.asarray([0, 1, 7])
    for f in (nn.cross_entropy, cr.grad(nn.cross_entropy)):
        with pytest.raises(cr.ShapeError, match="7"):
            cr.vmap(f)(logits, labels)
    table = cr.ones((4, 2))
    for look in (nn.embedding, lambda i, t: cr.grad(lambda t: nn.embedding(i, t).sum())(t)):
        with pytest.raises(cr.ShapeError, match="-1"):
            cr.vmap(look, (0, None))(cr.asarray([0, -1]), table)


REFUSED = {
    "no function": (lambda: cr.vmap(None), "a function"),
    "sizes": (lambda: cr.vmap(cr.add)(cr.ones(2), cr.ones(3)), "different numbers of examples"),
    "nothing": (lambda: cr.vmap(cr.add, in_axes=None)(cr.ones(2), cr.ones(3)), "all of in_axes"),
    "number": (lambda: cr.vmap(cr.add)(cr.ones(2), 1.0), "None"),
    "module": (lambda: cr.vmap(lambda m, x: m(x))(nn.ReLU(), cr.ones(2)), "not a tensor"),
    "axis": (lambda: cr.vmap(cr.exp, in_axes=1)(cr.ones(2)), "no axis 1"),
    "axes": (lambda: cr.vmap(cr.exp, in_axes=(0, 0))(cr.ones(2)), "2 entries"),
    "structure": (lambda: cr.vmap(lambda p: p, in_axes=({"a": 0},))({"b": cr.ones(2)}), "in_axes"),
    "float axis": (lambda: cr.vmap(cr.exp, in_axes=0.5)(cr.ones(2)), "in_axes"),
    "out": (lambda: cr.vmap(cr.exp, out_axes=None)(cr.ones(2)), "depends on the example"),
    "out axis": (lambda: cr.vmap(cr.exp, out_axes=2)(cr.ones(2)), "no axis 2"),
    "if": (lambda: cr.vmap(lambda x: x if x > 0 else -x)(cr.ones(2)), "cr.where"),
    "item": (lambda: cr.vmap(lambda x: x.item())(cr.ones(2)), "value"),
    "backward": (lambda: cr.vmap(lambda x: (x * _PARAMETER).backward())(cr.ones(2)), "cr.grad"),
    "requires_grad": (lambda: cr.vmap(lambda x: x.requires_grad_())(cr.ones(2)), "cr.grad"),
    "buffer": (lambda: cr.vmap(nn.BatchNorm1d(3))(cr.ones((2, 4, 3))), "eval"),
    "outside": (lambda: cr.vmap(_writes_outside)(cr.ones(2)), "from outside"),
    "outside of an inner one": (
        lambda: cr.vmap(_writes_from_an_inner_one)(cr.ones((2, 2))), "from outside"),
}  # fmt: skip
_PARAMETER = cr.asarray(2.0, requires_grad=True)
_OUTSIDE = cr.zeros(3)


def _writes_outside(x):
    _OUTSIDE[0] = x
    return x


def _writes_from_an_inner_one(xs):
    total = xs * 0

    def inner(x):
        total[0] = x
        return x

    return cr.vmap(inner)(xs) + total


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(cr.ChainruleError, match=message):
        call()
    gc.collect()
    assert _OUTSIDE.tolist() == [0.0, 0.0, 0.0]  # as it was
    assert cr.vmap(cr.exp)(cr.zeros(2)).tolist() == [1.0, 1.0]


def test_a_tensor_that_was_left_over_is_explained():
    kept = []
    cr.vmap(lambda x: kept.append(x * 2) or x)(cr.ones(2))
    with pytest.raises(cr.ChainruleError, match="traced"):
        kept[0].item()
    with pytest.raises(cr.ChainruleError, match="left over"):
        cr.vmap(lambda x: x * kept[0])(cr.ones(2))


def test_no_examples_at_all():
    x = cr.zeros((0, 3))
    assert cr.vmap(lambda v: network(v.astype(cr.float64)).sum())(x).shape == (0,)
    assert cr.vmap(cr.grad(lambda v: (v * v).sum()))(x).shape == (0, 3)
