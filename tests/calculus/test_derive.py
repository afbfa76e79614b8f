"""The engine of `derive`: terms, their canonical form, rules, the written forms and their checks.

Formulas are held to hand-written NumPy and to finite differences; the textbook's are in
`test_derive_table`.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from fractions import Fraction

import numpy as np
import pytest

import chainrule as cr
import chainrule.ops
from chainrule import nn
from chainrule.calculus.derive import derive, local_derivative, rules
from chainrule.calculus.derive.index_form import IndexForm
from chainrule.calculus.derive.matrix_form import has_matrix_form, matrix, written
from chainrule.calculus.derive.matrix_value import value
from chainrule.calculus.derive.rules import Rule, simplify
from chainrule.calculus.derive.terms import (
    Applied,
    applied,
    ones,
    power,
    product,
    scaled,
    total,
    variable,
    zero,
)
from chainrule.errors import DTypeError, GradientError, ShapeError
from chainrule.ops.elementwise import _ACCEPTS as ACCEPTED
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.operation import registry

RNG = np.random.default_rng(0)
LENGTHS = (2, 3, 4, 5)
A, B, x, u = (variable(n, s) for n, s in (("A", (3, 3)), ("B", (3, 3)), ("x", (3,)), ("u", (3,))))
VALUES = {"A": RNG.normal(size=(3, 3)), "B": RNG.normal(size=(3, 3)),
          "x": RNG.normal(size=3), "u": RNG.normal(size=3)}  # fmt: skip


def matmul(a, b):
    return product([(a, (0, 2)), (b, (2, 1))], (0, 1), {0: 3, 1: 3, 2: 3})


def transposed(a):
    return product([(a, (1, 0))], (0, 1), {0: 3, 1: 3})


# Terms


def test_equal_terms_are_one_object():
    assert variable("x", (3,)) is x
    assert total([(1, A), (1, B)], (3, 3)) is total([(1, B), (1, A)], (3, 3))
    assert total([(1, A), (1, A)], (3, 3)) is scaled(Fraction(2), A)
    assert total([(1, A), (-1, A)], (3, 3)) is zero((3, 3))
    assert matmul(A, B) is not matmul(B, A)
    assert power(power(x, 2), 3) is power(x, 6)
    assert power(power(x, 2), Fraction(1, 2)) is not x  # it is |x|


@pytest.mark.parametrize("seed", range(30))
def test_products_do_not_depend_on_how_they_are_written(seed):
    """Any order of the factors and any names of the indices give one term, of einsum's value."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 6))
    sizes = {i: LENGTHS[i % 4] for i in range(count)}
    factors, values = [], {}
    for k in range(int(rng.integers(1, 5))):
        given = tuple(int(i) for i in rng.integers(0, count, size=rng.integers(1, 4)))
        name = "abc"[int(rng.integers(0, 3))] + "_".join(str(sizes[i]) for i in given)
        shape = tuple(sizes[i] for i in given)
        values[name] = np.random.default_rng(len(name) + k).normal(size=shape)
        factors.append((variable(name, shape), given))
    used = sorted({i for _, g in factors for i in g})
    out = tuple(int(i) for i in rng.permutation(used)[: rng.integers(0, 3)])
    one = product(factors, out, {i: sizes[i] for i in used})
    names = dict(zip(used, (int(n) + 10 for n in rng.permutation(len(used))), strict=True))
    order = rng.permutation(len(factors))
    other = product(
        [(factors[k][0], [names[i] for i in factors[k][1]]) for k in order],
        [names[i] for i in out],
        {names[i]: sizes[i] for i in used},
    )
    assert one is other
    arguments = [a for f, g in factors for a in (values[f.name], list(g))]
    np.testing.assert_allclose(one.evaluate(values), np.einsum(*arguments, list(out)), rtol=1e-12)


def test_a_result_may_repeat_an_index_or_have_one_of_its_own():
    np.testing.assert_array_equal(product([], (0, 0), {0: 3}).evaluate({}), np.eye(3))
    diagonal = product([(x, (0,))], (0, 0), {0: 3})
    np.testing.assert_array_equal(diagonal.evaluate(VALUES), np.diag(VALUES["x"]))
    rows = product([(x, (0,))], (0, 1), {0: 3, 1: 2})
    np.testing.assert_array_equal(rows.evaluate(VALUES), np.tile(VALUES["x"][:, None], (1, 2)))
    trace = product([(A, (0, 0))], (), {0: 3})
    np.testing.assert_allclose(trace.evaluate(VALUES), np.trace(VALUES["A"]))


# Rules


def random_term(rng, depth):
    """A vector made of the variables at random."""
    if depth == 0:
        return (x, u, ones((3,)))[rng.integers(3)]
    a, b = random_term(rng, depth - 1), random_term(rng, depth - 1)
    matrix = (A, B, transposed(A), transposed(B))[rng.integers(4)]
    kind = rng.integers(6)
    if kind == 0:
        return total([(Fraction(int(rng.integers(1, 4))), a), (Fraction(-1, 2), b)], (3,))
    if kind == 1:
        return product([(a, (0,)), (b, (0,))], (0,), {0: 3})
    if kind == 2:
        return product([(matrix, (0, 1)), (a, (1,))], (0,), {0: 3, 1: 3})
    if kind == 3:
        return product([(a, (1,)), (b, (1,)), (x, (0,))], (0,), {0: 3, 1: 3})
    if kind == 4:
        return total([(1, a), (1, product([(b, (1,))], (0,), {0: 3, 1: 3}))], (3,))
    return applied(registry["tanh"], [a], {}, (3,))


@pytest.mark.parametrize("seed", range(40))
def test_simplifying_changes_no_value(seed):
    term = random_term(np.random.default_rng(seed), 3)
    after, rewritings = simplify(term)
    expected = term.evaluate(VALUES)
    scale = max(1.0, np.abs(expected).max())
    assert after.cost <= term.cost
    for step in rewritings:
        assert np.abs(step.after.evaluate(VALUES) - expected).max() < 1e-10 * scale, step.rule
    again, more = simplify(after)
    assert again is after
    assert not more


@pytest.mark.parametrize("seed", range(40))
def test_index_form_of_random_terms(seed):
    """The notation evaluates to the value, though it shares no code with it."""
    term, _ = simplify(random_term(np.random.default_rng(seed), 3))
    expected = term.evaluate(VALUES)
    found = IndexForm(term, "y", {}).evaluate(VALUES)
    assert np.abs(found - expected).max() < 1e-10 * max(1.0, np.abs(expected).max())


def test_rules_say_what_they_did():
    transpose_of_product = transposed(matmul(A, B))
    after, steps = simplify(transpose_of_product)
    assert written(after) == "BᵀAᵀ"
    assert [s.rule for s in steps] == ["the transpose of a product: (AB)ᵀ = BᵀAᵀ"]
    both = total([(1, matmul(A, B)), (1, matmul(A, transposed(B)))], (3, 3))
    after, steps = simplify(both)
    assert written(after) == "A(B + Bᵀ)"
    assert steps[-1].rule == "a common factor"


def test_a_wrong_rule_is_found_by_its_step(monkeypatch):
    def wrong(t):
        """tanh(z) = z."""
        return t.args[0] if isinstance(t, Applied) and t.op.name == "tanh" else None

    monkeypatch.setattr(rules, "_rules", [*rules._rules, Rule("a wrong one", wrong, order=-1)])
    found = derive(lambda x: cr.tanh(x).sum(), VALUES["x"])
    assert found.matrix == "1 − x²"
    assert not found.verified
    assert [s.rule for s in found.steps if not s.holds] == ["a wrong one"]
    assert "✗ a wrong one" in str(found)
    assert found.error > 1e-3


# Matrix notation


@pytest.mark.parametrize(
    ("term", "text"),
    [
        (matmul(A, matmul(transposed(B), A)), "ABᵀA"),
        (product([(A, (0, 1)), (x, (1,))], (0,), {0: 3, 1: 3}), "Ax"),
        (product([(A, (1, 0)), (x, (1,)), (u, (0,))], (), {0: 3, 1: 3}), "xᵀAu"),
        (product([(x, (0,)), (u, (0,))], (), {0: 3}), "uᵀx"),
        (product([(x, (0,)), (u, (1,))], (0, 1), {0: 3, 1: 3}), "xuᵀ"),
        (product([(A, (0, 1)), (x, (0,)), (u, (1,))], (0, 1), {0: 3, 1: 3}), "diag(x) A diag(u)"),
        (product([(A, (0, 2)), (x, (2,)), (B, (2, 1))], (0, 1), {0: 3, 1: 3, 2: 3}), "A diag(x) B"),
        (product([(A, (0, 1)), (B, (1, 0))], (), {0: 3, 1: 3}), "tr(AB)"),
        (product([(A, (0, 1)), (B, (0, 1))], (), {0: 3, 1: 3}), "tr(ABᵀ)"),
        (product([(power(A, 2), (0, 1))], (), {0: 3, 1: 3}), "‖A‖²"),
        (product([(A, (0, 1)), (B, (0, 1))], (0, 1), {0: 3, 1: 3}), "A ⊙ B"),
        (product([(A, (0, 1))], (0,), {0: 3, 1: 3}), "A𝟏"),
        (product([(x, (0,))], (0, 0), {0: 3}), "diag(x)"),
        (product([(A, (0, 0))], (0,), {0: 3}), "diag(A)"),
        (product([], (0, 0), {0: 3}), "I"),
        (scaled(Fraction(-3, 2), total([(1, x), (-1, u)], (3,))), "−1.5 (x − u)"),
        (power(x, -1), "1/x"),
        (power(product([(power(x, 2), (0,))], (), {0: 3}), Fraction(-1, 2)), "1/‖x‖"),
    ],
)  # fmt: skip
def test_matrix_notation(term, text):
    assert written(term) == text
    assert has_matrix_form(term)


def test_three_matrices_at_one_index_have_no_matrix_form():
    factors = [(A, (0, 1)), (B, (0, 2)), (A, (0, 3)), (x, (2,)), (u, (3,))]
    term = product(factors, (1,), dict.fromkeys(range(4), 3))
    assert has_matrix_form(term)  # two of them end in vectors
    star = product([(A, (3, 0)), (B, (3, 1)), (A, (3, 2))], (0, 1, 2), dict.fromkeys(range(4), 3))
    assert not has_matrix_form(star)


@pytest.mark.parametrize("seed", range(60))
def test_matrix_form_of_random_terms(seed):
    """What is written, evaluated by matrix algebra, has the term's value."""
    term, _ = simplify(random_term(np.random.default_rng(seed), 3))
    expected = term.evaluate(VALUES)
    found = value(matrix(term), VALUES, (3,))
    assert np.abs(found - expected).max() < 1e-10 * max(1.0, np.abs(expected).max())


# derive


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def differences(f, at, h=1e-6):
    """∂f/∂x by central differences."""
    result = np.zeros(at.shape)
    for i in np.ndindex(*at.shape):
        step = np.zeros(at.shape)
        step[i] = h
        result[i] = (f(at + step) - f(at - step)) / (2 * h)
    return result


def test_softmax_with_cross_entropy():
    z, y = RNG.normal(size=(5, 3)), np.array([0, 2, 1, 1, 0])
    found = derive(lambda z, y: nn.cross_entropy(z, y), (z, y))
    assert found.matrix == "(p − onehot(y))/n"
    assert found.where == "p = softmax(z), n = 5"
    assert found.verified
    named = found.rules
    assert "exp(a) / Σ exp(a) is the softmax" in named
    assert "a one-hot row adds up to 1" in named
    np.testing.assert_allclose(found(z, y).numpy(), (softmax(z) - np.eye(3)[y]) / 5, rtol=1e-12)
    loss = lambda z: -np.log(softmax(z)[np.arange(5), y]).mean()  # noqa: E731
    np.testing.assert_allclose(found(z, y).numpy(), differences(loss, z), atol=1e-9)


def test_a_linear_layers_weight():
    x, W, δ = RNG.normal(size=(5, 4)), RNG.normal(size=(3, 4)), RNG.normal(size=(5, 3))
    found = derive(lambda x, W, δ: (δ * nn.linear(x, W)).sum(), (x, W, δ), wrt="W")
    assert found.matrix == "δᵀx"
    assert found.index == "∂f/∂W[i, j] = Σ_n δ[n, i] · x[n, j]"
    assert found.latex() == r"{δ}^{\top} \, x".replace("δ", r"\delta")
    assert found.verified
    np.testing.assert_allclose(found(x, W, δ).numpy(), δ.T @ x, rtol=1e-12)


def test_logistic_regression():
    X, w, y = RNG.normal(size=(6, 3)), RNG.normal(size=3), np.array([0.0, 1, 1, 0, 1, 0])

    def loss(w, X, y):
        return nn.binary_cross_entropy_with_logits(X @ w, y)

    p = 1 / (1 + np.exp(-X @ w))
    gradient = derive(loss, (w, X, y))
    assert gradient.matrix == "Xᵀ(σ(Xw) − y)/n"
    assert gradient.name == "∂loss/∂w"
    np.testing.assert_allclose(gradient(w, X, y).numpy(), X.T @ (p - y) / 6, rtol=1e-12)
    hessian = derive(loss, (w, X, y), order=2)
    assert hessian.matrix == "Xᵀ diag(p ⊙ (1 − p)) X/n"
    assert hessian.where == "p = σ(Xw), n = 6"
    expected = X.T @ np.diag(p * (1 - p)) @ X / 6
    np.testing.assert_allclose(hessian(w, X, y).numpy(), expected, rtol=1e-12)
    assert gradient.verified
    assert hessian.verified
    assert any("matrix in front of" in rule for rule in hessian.rules)


def test_jacobians():
    z = RNG.normal(size=4)
    p = softmax(z)
    found = derive(cr.softmax, z)
    assert found.matrix == "diag(p) − ppᵀ"
    assert found.kind == "Jacobian"
    assert found.verified
    np.testing.assert_allclose(found(z).numpy(), np.diag(p) - np.outer(p, p), rtol=1e-12)
    A = RNG.normal(size=(2, 4))
    assert derive(lambda z: A @ z, z).matrix == "A"  # the name that is read around the function
    scalar = derive(lambda t: t * cr.asarray(z), cr.asarray(0.5))
    assert scalar.term.shape == (4,)
    assert scalar.verified


def test_a_linear_operation_that_is_no_product_stays_a_map():
    z = RNG.normal(size=4)
    found = derive(lambda z: cr.cumulative_sum(z * z), z)
    assert found.direction is not None
    assert found.verified
    np.testing.assert_allclose(found(z).numpy(), np.tril(np.ones((4, 4))) * 2 * z, rtol=1e-12)


def test_parameters_of_a_module_go_by_their_names():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    found = derive(lambda x: model(x).sum(), RNG.normal(size=(5, 3)))
    assert found.verified
    assert {v.name for v in found.term.variables} == {"x", "weight0", "bias0", "weight2"}
    assert derive(model[0], RNG.normal(size=3)).matrix == "weight"


def test_arguments_and_names():
    a, b = RNG.normal(size=3), RNG.normal(size=3)
    both = derive(lambda a, b: (a * b).sum(), (a, b), wrt=("b", 0))
    assert [d.matrix for d in both] == ["a", "b"]
    assert derive(lambda a, b: (a * b).sum(), (a, b), wrt=-1).name == "∂f/∂b"
    assert derive(lambda v: (v @ v) * v, a).verified  # a variable that is called as the direction
    assert derive(lambda e, n: (e * n).mean(), (a, b)).verified  # and as the numbers are
    assert derive(lambda a, k: (a**k).sum(), (a, 3)).matrix == "3 a²"


def test_half_the_size_in_float32_and_integers_beside():
    W = cr.asarray(RNG.normal(size=(3, 4)), dtype=cr.float32)
    found = derive(lambda W, i: W[i].sum(), (W, np.array([2, 0, 2])))
    assert found.verified
    np.testing.assert_array_equal(
        found(W, np.array([2, 0, 2])).numpy(), [[1] * 4, [0] * 4, [2] * 4]
    )


def test_a_function_that_branches_says_so():
    found = derive(lambda x: (x * x).sum() if x.sum() > 0 else x.sum(), np.array([1.0, 2.0]))
    assert found.matrix == "2 x"
    assert any("near them" in note for note in found.notes)


def test_kinks_are_named_with_their_convention():
    found = derive(lambda x: nn.relu(x).sum(), np.array([1.0, 0.0, -2.0]))
    (note,) = found.notes
    assert "`relu` has no derivative at 0" in note
    assert "taken as 0" in note
    assert found.verified
    assert not derive(lambda x: nn.relu(x).sum(), np.array([1.0, -2.0])).notes


def test_every_form_is_given():
    X, y = RNG.normal(size=(5, 3)), RNG.normal(size=5)
    found = derive(lambda w, X, y: ((X @ w - y) ** 2).mean(), (RNG.normal(size=3), X, y))
    data = json.loads(json.dumps(found.to_dict()))
    assert data["matrix"] == "2 Xᵀ(Xw − y)/n"
    assert data["verified"] is True
    assert len(data["checks"]) == 5
    text = str(found)
    assert "matrix form  ∂f/∂w = 2 Xᵀ(Xw − y)/n" in text
    assert all(step.rule in text for step in found.steps)
    assert "<math" in found._repr_html_()
    assert found.latex("index").startswith(r"{\frac{\partial f}{\partial w}}_{i}")
    space: dict = {}
    exec(found.to_python(), space)
    w = RNG.normal(size=3)
    got = space["gradient"](*(cr.asarray(a, dtype=cr.float64) for a in (w, X, y)))
    np.testing.assert_allclose(got.numpy(), 2 * X.T @ (X @ w - y) / 5, rtol=1e-12)
    with pytest.raises(DTypeError, match="form is"):
        found.latex("words")


@pytest.mark.parametrize(
    ("f", "args", "options", "error", "message"),
    [
        (3, (1.0,), {}, DTypeError, "takes a function"),
        (lambda x: x.sum(), np.ones(2), {"wrt": 1}, GradientError, "the arguments are 0: x"),
        (lambda x: x.sum(), np.ones(2), {"wrt": "w"}, GradientError, "the arguments are 0: x"),
        (lambda x: x.sum(), np.ones(2), {"wrt": 0.5}, DTypeError, "position or name"),
        (lambda x: x.sum(), np.ones(2), {"order": 3}, DTypeError, "order is 1 or 2"),
        (lambda x: x * x, np.ones(2), {"order": 2}, GradientError, "single number"),
        (lambda x: cr.argmax(x), np.ones(2), {}, GradientError, "`argmax` has no derivative"),
        (lambda x: (x > 0).astype(cr.float32), np.ones(2), {}, GradientError, "`greater`"),
        (lambda x: x.sum(), np.ones(2, int), {}, DTypeError, "argument x is int64"),
        (lambda x: x.sum(), np.ones(2, complex), {}, DTypeError, "real numbers"),
        (lambda x: (x, x), np.ones(2), {}, GradientError, "one tensor, not tuple"),
        (lambda x: x @ cr.ones(4), np.ones(2), {}, ShapeError, "inner sizes differ"),
        (lambda x: nn.dropout(x).sum(), np.ones(2), {}, GradientError, "random numbers"),
    ],
)
def test_bad_input(f, args, options, error, message):
    with pytest.raises(error, match=message):
        derive(f, args, **options)


# Local derivatives


@pytest.mark.parametrize(
    ("name", "shapes", "attrs", "position", "text"),
    [
        ("tanh", [(3,)], {}, 0, "δ ⊙ (1 − y²)"),
        ("exp", [(3,)], {}, 0, "y ⊙ δ"),
        ("multiply", [(3,), (3,)], {}, 0, "b ⊙ δ"),
        ("add", [(5, 3), (3,)], {}, 1, "δᵀ𝟏"),
        ("matmul", [(5, 4), (4, 3)], {}, 0, "δbᵀ"),
        ("matmul", [(5, 4), (4, 3)], {}, 1, "aᵀδ"),
        ("linear", [(5, 4), (3, 4), (3,)], {}, 1, "δᵀx"),
        ("linear", [(5, 4), (3, 4), (3,)], {}, 2, "δᵀ𝟏"),
        ("softmax", [(5, 4)], {"axis": -1}, 0, "y ⊙ (δ − (y ⊙ δ)𝟏 𝟏ᵀ)"),
    ],
)
def test_local_derivatives(name, shapes, attrs, position, text):
    """The formula as it is known, and its value as the pullback that runs."""
    op = registry[name]
    found = local_derivative(op, [(s, "float32") for s in shapes], attrs, position)
    assert found.matrix_text() == text
    tensors = [cr.asarray(RNG.normal(size=s)) for s in shapes]
    value, pull = cr.vjp(lambda *xs: op.apply(xs, attrs), *tensors)
    δ = RNG.normal(size=value.shape)
    values = dict(zip(op.operand_names, (t.numpy() for t in tensors), strict=True))
    values |= {"y": value.numpy(), "δ": δ}
    expected = pull(cr.asarray(δ))[position].numpy()
    np.testing.assert_allclose(found.evaluate(values), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.index_form.evaluate(values), expected, rtol=1e-10, atol=1e-12)


for info in pkgutil.iter_modules(chainrule.ops.__path__):
    importlib.import_module(f"chainrule.ops.{info.name}")
ELEMENTWISE = sorted(
    name
    for name, op in registry.items()
    if isinstance(op, Elementwise) and op.differentiable and "f" in ACCEPTED[op.accepts]
)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_local_derivatives_of_all_elementwise_operations(name):
    """In every operand: the value of the pullback that runs, in both notations."""
    op, rng = registry[name], np.random.default_rng(3)
    arrays = [interval.sample(rng, (2, 3)) for interval in op.domain]
    specs = [(a.shape, a.dtype) for a in arrays]
    tensors = [cr.asarray(a) for a in arrays]
    δ = rng.normal(size=(2, 3))
    for position in range(op.arity):
        if arrays[position].dtype.kind != "f":
            continue  # an order, a whole number
        try:
            wanted = lambda t, k=position: op(*tensors[:k], t, *tensors[k + 1 :])  # noqa: E731
            value_, pull = cr.vjp(wanted, tensors[position])
            (expected,) = pull(cr.asarray(δ))
        except GradientError:
            with pytest.raises(GradientError):
                local_derivative(op, specs, {}, position)
            continue
        found = local_derivative(op, specs, {}, position)
        values = dict(zip(op.operand_names, arrays, strict=True))
        values |= {"y": value_.numpy(), "δ": δ}
        got = found.evaluate(values)
        scale = 1e-9 * max(1.0, np.abs(expected.numpy()).max())
        assert np.abs(got - expected.numpy()).max() < scale
        assert np.abs(found.index_form.evaluate(values) - got).max() < scale
        assert np.abs(value(matrix(found.term), values, (2, 3)) - got).max() < scale
        assert found.rule


def test_an_altered_derivative_alters_the_formula(monkeypatch):
    tanh, exp, softmax_ = registry["tanh"], registry["exp"], registry["softmax"]
    specs = [((3,), "float32")]
    before = local_derivative(softmax_, specs, {"axis": -1}, 0).matrix_text()
    monkeypatch.setattr(tanh, "derivative", (lambda x, y: 1 + y**2,))
    assert local_derivative(tanh, specs, {}, 0).matrix_text() == "δ ⊙ (1 + y²)"
    monkeypatch.setattr(exp, "derivative", (lambda x, y: 2 * y,))
    assert local_derivative(softmax_, specs, {"axis": -1}, 0).matrix_text() != before


def test_local_derivatives_that_do_not_exist():
    with pytest.raises(GradientError, match="argmax"):
        local_derivative(registry["argmax"], [((3,), "float32")], {}, 0)
    labels = [((5, 3), "float32"), ((5,), "int64")]
    with pytest.raises(GradientError, match="operand 1"):
        local_derivative(registry["softmax_cross_entropy"], labels, {}, 1)


def test_names_of_operands_are_the_readers():
    found = local_derivative(registry["linear"], [((5, 4), "float32"), ((3, 4), "float32"), None],
                             {}, 1)  # fmt: skip
    assert found.matrix_text({"x": "a1", "δ": "δz2"}) == "δz2ᵀ a1"
    assert found.matrix_latex({"x": "a1", "δ": "δ2"}) == r"{\delta_{2}}^{\top} \, a_{1}"
    assert found.rule == "transpose of a matrix product"
    assert found.index_form.plain() == "δweight[i, j] = Σ_n δ[n, i] · x[n, j]"


@pytest.mark.parametrize("rows", [1, 5])
def test_one_row_is_a_matrix_as_five_are(rows):
    # (1, 2)ᵀ (1, 3), and not (1, 2) (1, 3)ᵀ, which cannot be multiplied.
    x, w, g = np.ones((rows, 3)), np.ones((3, 2)), np.ones((rows, 2))
    found = cr.derive(lambda x, w, g: (g * (x @ w)).sum(), (x, w, g), wrt=1)
    assert (found.matrix, found.verified) == ("xᵀg", True)
