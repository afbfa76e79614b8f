"""The language of formulas: read, written in three forms, evaluated, and refused."""

import importlib
import pkgutil
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule.ops
from chainrule.ops.notation import FormulaError, parse
from chainrule.ops.operation import registry

for info in pkgutil.iter_modules(chainrule.ops.__path__):
    importlib.import_module(f"chainrule.ops.{info.name}")
FORMULAS = {n: op for n, op in registry.items() if op.__module__.startswith("chainrule.")}


@pytest.mark.parametrize("op", FORMULAS.values(), ids=FORMULAS)
def test_every_formula_in_three_forms(op):
    formula = op.formula
    if not op.display_only:
        assert parse(formula.plain()).statements == formula.statements
    latex = formula.latex()
    assert latex.count("{") == latex.count("}")
    assert ET.fromstring(formula.mathml()).tag.endswith("math")


rng = np.random.default_rng(0)
A, B, V = rng.normal(size=(2, 3)), rng.normal(size=(3, 4)), rng.normal(size=3)


@pytest.mark.parametrize(
    ("text", "operands", "wanted"),
    [
        ("y[i, j] = Σ_k a[i, k] · b[k, j]", {"a": A, "b": B}, A @ B),
        ("y = Σ_k x[k]² / |k|", {"x": V}, np.mean(V**2)),
        ("y[i] = x[i] − max_j x[j]", {"x": V}, V - V.max()),
        ("y[i] = exp(x[i]) / (Σ_j exp(x[j]))", {"x": V}, np.exp(V) / np.exp(V).sum()),
        ("y[i] = Σ_{k ≤ i} x[k]", {"x": V}, np.cumsum(V)),
        ("y[i] = x[i − 1]", {"x": V}, np.r_[0, V[:-1]]),
        ("y = x if x > 0 else −x", {"x": V}, np.abs(V)),
        ("y = 2 · x^2 · √(9)", {"x": V}, 6 * V**2),
        ("m = Σ_k x[k]; y[i] = x[i] − m", {"x": V}, V - V.sum()),
        ("y[i] = x[n[i]]", {"x": V, "n": np.array([2, 0])}, V[[2, 0]]),
        ("y = argmax_k x[k]", {"x": V}, V.argmax()),
        ("y = Π_k x[k]", {"x": V}, V.prod()),
        ("y⟨n⟩ = x⟨n⟩", {"x": A}, A.reshape(3, 2)),
        ("y[…, i] = Σ_j w[i, j] · x[…, j]", {"w": A, "x": V}, A @ V),
        ("y = 1 if x = y0 and not x < 0 else 0", {"x": V, "y0": np.abs(V)}, (V > 0) * 1.0),
    ],
)  # fmt: skip
def test_evaluation_is_numpys(text, operands, wanted):
    found = parse(text).evaluate(operands, np.shape(wanted))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_log_sum_exp_does_not_overflow():
    found = parse("y = log(Σ_k exp(x[k]))").evaluate({"x": np.array([1e4, 1e4])}, ())
    assert found == pytest.approx(1e4 + np.log(2))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "y =",
        "y = x +",
        "y = (x",
        "y = x)",
        "y[i = x",
        "y = Σ x[k]",
        "y = x ? 2",
        "y = 2 3",
        "= x",
    ],
)
def test_what_cannot_be_read_says_where(text):
    with pytest.raises(FormulaError) as error:
        parse(text)
    assert str(error.value)


def test_what_cannot_be_evaluated():
    with pytest.raises(FormulaError, match="neither an operand"):
        parse("y = z").evaluate({"x": V}, ())
    with pytest.raises(FormulaError, match="takes"):
        parse("y = Σ_k a[k] · b[k]").evaluate({"a": V, "b": np.ones(4)}, ())
    with pytest.raises(FormulaError, match="neither added up"):
        parse("y = x[i]").evaluate({"x": V}, ())
    with pytest.raises(FormulaError, match="display only"):
        parse("anything at all", display_only=True).evaluate({}, ())


def expressions():
    leaves = st.sampled_from(["x", "a", "2", "0.5", "π"])

    def grow(inner):
        pairs = st.tuples(inner, st.sampled_from(["+", "−", "·", "/"]), inner)
        return st.one_of(
            pairs.map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
            inner.map(lambda e: f"tanh({e})"),
            inner.map(lambda e: f"(−{e})"),
            inner.map(lambda e: f"({e})²"),
            st.tuples(inner, inner).map(lambda t: f"max({t[0]}, {t[1]})"),
        )

    return st.recursive(leaves, grow, max_leaves=8)


@given(expressions())
@settings(max_examples=200, deadline=None)
def test_written_and_read_again_it_is_the_same(text):
    formula = parse(text)
    again = parse(formula.plain())
    # a · (b · c) is written without its parentheses: the same mathematics, another tree.
    assert again.plain() == formula.plain()
    operands = {"x": np.array([0.3, -1.2]), "a": np.array([2.0, 0.7])}
    with np.errstate(all="ignore"):
        first, second = (f.evaluate(operands, (2,)) for f in (formula, again))
        python = text.replace("·", "*").replace("−", "-").replace("²", "**2").replace("π", "np.pi")
        python = python.replace("tanh", "np.tanh").replace("max", "np.maximum")
        wanted = np.broadcast_to(eval(python, {"np": np, **operands}), (2,))
    np.testing.assert_allclose(first, second, rtol=1e-12)
    np.testing.assert_allclose(first, wanted, rtol=1e-12)


def test_numbers_written_out():
    formula = parse("y[i] = Σ_j w[i, j] · x[j] + b[i]")
    operands = {"w": [[1.0, -2.0]], "x": [3.0, 4.0], "b": [0.5]}
    assert formula.substitute(operands, (0,)) == "(−2) · 4 + 1 · 3 + 0.5 = −4.5"
    many = {"w": np.ones((1, 50)), "x": np.arange(50.0), "b": [0.0]}
    text = formula.substitute(many, (0,))
    assert "more terms" in text
    assert text.endswith("= 1225")
