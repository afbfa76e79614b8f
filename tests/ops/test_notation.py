"""The language of formulas: read, written in three forms, evaluated, and refused."""

import importlib
import pkgutil
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal, special

import chainrule.ops
from chainrule.ops.notation import Formula, FormulaError, parse
from chainrule.ops.notation.render import Plain
from chainrule.ops.notation.specialise import result, specialised
from chainrule.ops.notation.tree import (
    Binary,
    Call,
    Choice,
    Flat,
    Name,
    Number,
    Reduce,
    Size,
    Statement,
    Subscript,
    Unary,
)
from chainrule.ops.operation import registry

for info in pkgutil.iter_modules(chainrule.ops.__path__):
    importlib.import_module(f"chainrule.ops.{info.name}")
FORMULAS = {n: op for n, op in registry.items() if op.__module__.startswith("chainrule.")}


PAIRS = {"}": "{", r"\right": r"\left", r"\end": r"\begin", r"\rvert": r"\lvert"}

# What \left and \right are put in front of belongs to them; \{ and \_ are only characters.
TOKENS = re.compile(
    r"(\\(?:left|right)(?=\W|\\)|\\(?:begin|end)|(?<!left)(?<!right)\\[lr]vert"
    r"|\\[{}_]|[{}])"
)


def well_formed(formula):
    """MathML parses as XML; in LaTeX every bracket closes the one that was opened last."""
    latex = formula.latex()
    opened = []
    for token in TOKENS.findall(latex):
        if token in PAIRS.values():
            opened.append(token)
        elif token in PAIRS:
            assert opened.pop() == PAIRS[token], latex
    assert not opened, latex
    assert ET.fromstring(formula.mathml()).tag.endswith("math")


@pytest.mark.parametrize("op", FORMULAS.values(), ids=FORMULAS)
def test_every_formula_in_three_forms(op):
    formula = op.formula
    if not op.display_only:
        assert parse(formula.plain()).statements == formula.statements
    well_formed(formula)


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
        ("y[i] = max_{k ≤ i} x[k]", {"x": -(V**2)}, np.maximum.accumulate(-(V**2))),
        ("y[i] = min_{k ≥ i} x[k]", {"x": V**2}, np.minimum.accumulate(V[::-1] ** 2)[::-1]),
        ("y[i] = argmin_{k ≥ i} x[k]", {"x": V**2}, [i + np.argmin(V[i:] ** 2) for i in range(3)]),
        ("y[i] = Π_{k < i} x[k]", {"x": V}, np.cumprod(np.r_[1, V[:-1]])),
        ("y = (a · max_k x[k]) · a", {"x": V, "a": -2.0}, 4 * V.max()),
        ("y[i, j] = Σ_{u, v} x[i + u, j + v] · w[u, v]", {"x": A, "w": np.ones((2, 2))},
         signal.convolve2d(A, np.ones((2, 2)))[1:, 1:]),
        ("y = e^(−x²) / √π + erf(x) − logΓ(|n|) + 0 · Σ_n x[n]", {"x": V},
         np.exp(-(V**2)) / np.sqrt(np.pi) + special.erf(V) - special.gammaln(3)),
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


def test_words_for_display_only():
    formula = parse("y_1 = 5 % of {x} & z^2 < 3", display_only=True)
    assert formula.plain() == formula.text
    assert formula.latex() == r"\text{y\_1 = 5 \% of \{x\} \& z\textasciicircum{}2 < 3}"
    well_formed(formula)


def test_log_sum_exp_does_not_overflow():
    found = parse("y = log(Σ_k exp(x[k]))").evaluate({"x": np.array([1e4, 1e4])}, ())
    assert found == pytest.approx(1e4 + np.log(2))


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", 0, "an expression"),
        ("y =", 3, "an expression"),
        ("y = x +", 7, "an expression"),
        ("y = (x", 6, "')'"),
        ("y = x)", 5, "ended"),
        ("y[i = x", 4, "']'"),
        ("y = Σ x[k]", 6, "'_'"),
        ("y = Σ_2 x[k]", 6, "a name"),
        ("y = Σ_{k, 2} x[k]", 10, "a name"),
        ("y = x ? 2", 6, "'?'"),
        ("y = 2 3", 6, "ended"),
        ("= x", 0, "an expression"),
        ("y = x < 2 < 3", 10, "ended"),
        ("y = |2|", 5, "a name"),
        ("y = x if x", 10, "'else'"),
        ("y = x[…, …]", 11, "…"),
        ("y = x⟨n", 7, "'⟩'"),
        ("y = tanh(x,)", 11, "an expression"),
        ("y = x;", 6, "an expression"),
        ("   y = x $ x", 9, "'$'"),
    ],
)
def test_what_cannot_be_read_says_where(text, column, says):
    with pytest.raises(FormulaError) as error:
        parse(text)
    message, shown, pointer = str(error.value).split("\n")
    assert says in message
    assert shown == f"  {text}"
    assert pointer.index("^") - 2 == column


@given(st.text(alphabet="xyk2.=+−·/^²√Σ_{}[](),;|⟨⟩…∞≤ ifnot", max_size=20))
def test_no_text_breaks_the_parser(text):
    """It is read, and then written so that it is read the same; or refused with a FormulaError."""
    try:
        formula = parse(text)
    except FormulaError:
        return
    assert parse(formula.plain()).plain() == formula.plain()
    well_formed(formula)


@pytest.mark.parametrize(
    ("text", "operands", "says"),
    [
        ("y = x[i, j]", {"x": V}, "1 axes, and 2 indices"),
        ("y = z[k]", {"x": V}, "z is not among the operands"),
        ("y⟨n⟩ = z⟨n⟩", {"x": V}, "z is not among the operands"),
        ("y = Σ_k 2", {}, "k has no known range"),
        ("y = max_k 2", {}, "k has no known range"),
        ("y = |k|", {}, "k has no known range"),
        ("y = foo(x)", {"x": V}, "no function foo"),
        ("y = atan2(x)", {"x": V}, "atan2"),
        ("y = argmax_{i, j} x[i, j]", {"x": A}, "one index"),
    ],
)
def test_what_has_no_value(text, operands, says):
    with pytest.raises(FormulaError, match=says):
        parse(text).evaluate(operands, ())


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
@settings(max_examples=200)
def test_written_and_read_again_it_is_the_same(text):
    formula = parse(text)
    again = parse(formula.plain())
    # a · (b · c) is written without its brackets: the same mathematics, another tree.
    assert again.plain() == formula.plain()
    operands = {"x": np.array([0.3, -1.2]), "a": np.array([2.0, 0.7])}
    with np.errstate(all="ignore"):
        first, second = (f.evaluate(operands, (2,)) for f in (formula, again))
        python = text.replace("·", "*").replace("−", "-").replace("²", "**2").replace("π", "np.pi")
        python = python.replace("tanh", "np.tanh").replace("max", "np.maximum")
        wanted = np.broadcast_to(eval(python, {"np": np, **operands}), (2,))
    np.testing.assert_allclose(first, second, rtol=1e-12)
    np.testing.assert_allclose(first, wanted, rtol=1e-12)


# Random trees


def times(a, b):
    """A product as the parser builds it; a · (b · c) is written, and read, as (a · b) · c."""
    if isinstance(b, Binary) and b.operator in ("·", "/"):
        return Binary(b.operator, times(a, b.left), b.right)
    return Binary("·", a, b)


def pairs(operators, inner):
    return st.builds(
        lambda o, a, b: times(a, b) if o == "·" else Binary(o, a, b),
        st.sampled_from(operators), inner, inner,
    )  # fmt: skip


COMPARISONS = ["=", "≠", "<", ">", "≤", "≥"]


def grow_anything(inner):
    condition = pairs(COMPARISONS, inner) | pairs(["and", "or"], inner)
    bound = st.builds(Binary, st.sampled_from(COMPARISONS), st.just(Name("k")), inner)
    return st.one_of(
        pairs(["+", "-", "·", "/", "^", *COMPARISONS, "and", "or"], inner),
        st.builds(Unary, st.sampled_from(["-", "not"]), inner),
        st.builds(Call, st.sampled_from(["√", "exp", "Γ"]), st.tuples(inner)),
        st.builds(Call, st.just("max"), st.tuples(inner, inner)),
        st.builds(Choice, inner, condition | inner, inner),
        st.builds(Subscript, st.just("x"), st.tuples(st.none(), inner)),
        st.builds(
            Reduce, st.sampled_from(["Σ", "Π", "max", "argmin"]),
            st.sampled_from([("k",), ("k", "l")]), st.none(), inner,
        ),
        st.builds(Reduce, st.sampled_from(["Σ", "min"]), st.just(("k",)), bound, inner),
    )  # fmt: skip


LEAVES = [Number("2"), Number("0.5"), Number("1e3"), Name("x"), Name("k_2′"), Name("∞"), Size("k"),
          Flat("x", "n"), Subscript("x", (None,)), Subscript("w²", (Name("i"),))]  # fmt: skip


@given(st.recursive(st.sampled_from(LEAVES), grow_anything, max_leaves=12))
@settings(max_examples=300)
def test_every_tree_is_written_and_read_again(tree):
    formula = Formula("", (Statement(Name("y"), tree),))
    assert parse(formula.plain()).statements == formula.statements
    well_formed(formula)


def grow_exact(inner):
    """Operations on halves and whole numbers that leave no room for rounding."""
    condition = pairs(COMPARISONS, inner)
    condition = condition | pairs(["and", "or"], condition)
    below = st.just(Binary("≤", Name("k"), Name("i")))
    return st.one_of(
        pairs(["+", "-", "·"], inner),
        st.builds(Unary, st.just("-"), inner),
        inner.map(lambda a: Binary("/", a, Number("2"))),
        inner.map(lambda a: Binary("^", a, Number("2"))),
        st.builds(Call, st.sampled_from(["abs", "floor"]), st.tuples(inner)),
        st.builds(Call, st.sampled_from(["max", "min"]), st.tuples(inner, inner)),
        st.builds(Choice, inner, condition | condition.map(lambda c: Unary("not", c)), inner),
        st.builds(
            Reduce, st.sampled_from(["Σ", "Π", "max", "min"]), st.just(("k",)),
            st.none() | below, inner,
        ),
    )  # fmt: skip


EXACT = [Number("2"), Number("0.5"), Name("a"), Name("i"), Subscript("x", (Name("i"),)),
         Subscript("x", (Name("k"),)), Subscript("m", (Name("i"), Name("k")))]  # fmt: skip
OPERANDS = {"a": -1.5, "x": np.array([2.0, -0.5, 1.0]), "m": np.array([[1.0, -2, 0.5]] * 3).T * 2}
PYTHON = {
    "+": np.add, "-": np.subtract, "·": np.multiply, "/": np.divide, "^": np.power,
    "=": np.equal, "≠": np.not_equal, "<": np.less, ">": np.greater, "≤": np.less_equal,
    "≥": np.greater_equal, "and": np.logical_and, "or": np.logical_or, "abs": np.abs,
    "floor": np.floor, "max": np.maximum, "min": np.minimum, "Σ": np.add, "Π": np.multiply,
}  # fmt: skip


def scalar(part, index):
    """One number of a tree, by plain recursion over single elements."""
    match part:
        case Number(text):
            return np.float64(text)
        case Name(name):
            return np.float64(index[name] if name in index else OPERANDS[name])
        case Subscript(name, indices):
            return OPERANDS[name][tuple(index[i.name] for i in indices)]
        case Binary(operator, left, right):
            return PYTHON[operator](scalar(left, index), scalar(right, index))
        case Unary(operator, operand):
            value = scalar(operand, index)
            return -value if operator == "-" else not value
        case Call(function, arguments):
            return PYTHON[function](*(scalar(a, index) for a in arguments))
        case Choice(then, condition, otherwise):
            return scalar(then if scalar(condition, index) else otherwise, index)
        case Reduce(word, _, condition, body):
            inside = [{**index, "k": k} for k in range(3)]
            kept = [j for j in inside if condition is None or scalar(condition, j)]
            return PYTHON[word].reduce([scalar(body, j) for j in kept])


@given(st.recursive(st.sampled_from(EXACT), grow_exact, max_leaves=8))
@settings(max_examples=300)
def test_every_tree_evaluates_to_its_numbers(tree):
    # The sum in front binds the k that is still free in the tree.
    target = Subscript("y", (Name("i"),))
    known = Statement(Name("r"), Reduce("Σ", ("k",), None, Subscript("x", (Name("k"),))))
    formula = Formula("", (known, Statement(target, Reduce("Σ", ("k",), None, tree))))
    wanted = [scalar(formula.statements[-1].value, {"i": i}) for i in range(3)]
    for written in (formula, parse(formula.plain())):
        found = written.evaluate(OPERANDS, (3,))
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_numbers_written_out():
    formula = parse("y[i] = Σ_j w[i, j] · x[j] + b[i]")
    operands = {"w": [[1.0, -2.0]], "x": [3.0, 4.0], "b": [0.5]}
    assert formula.substitute(operands, (0,)) == "(−2) · 4 + 1 · 3 + 0.5 = −4.5"
    many = {"w": np.ones((1, 50)), "x": np.arange(50.0), "b": [0.0]}
    text = formula.substitute(many, (0,))
    assert "more terms" in text
    assert text.endswith("= 1225")


def test_targets_with_primes_and_hats():
    (statement,) = parse("w′ = w − lr·m̂").statements
    assert (statement.target.name, parse("w′ = w − lr·m̂").names) == ("w′", {"w", "lr", "m̂"})
    assert parse("w′ = m̂ / β₁").latex() == r"w' = \frac{\hat{m}}{\beta_{1}}"
    assert parse("x = w").output == "y"  # a comparison


def test_a_name_that_is_a_quotient_is_bracketed():
    formula = parse("g² + 1 / g")
    assert formula.plain({"g": "∂L/∂w"}) == "y = (∂L/∂w)² + 1 / (∂L/∂w)"


def test_statements_under_known_options():
    text = (
        "g′ = g + λ·w if λ ≠ 0 else g; u[i] = g′[i] if fast else 2·g′[i]; "
        "w′ = w − u if w > 0 else g′"
    )
    statements = parse(text).statements
    found = specialised(statements, {"λ": 0.0, "fast": False}, {"w′"})
    lines = [Plain().statements((s,)) for s in found]
    assert lines == ["u[i] = 2 · g[i]", "w′ = w − u if w > 0 else g"]
    found = specialised(statements, {"λ": 0.5, "fast": True}, {"w′"})
    assert [s.target.name for s in found] == ["g′", "u", "w′"]
    kept = specialised(parse("b′ = g; w′ = w − b′").statements, {}, {"b′", "w′"})
    assert [s.target.name for s in kept] == ["b′", "w′"]


def test_what_a_statement_gives_has_the_shape_of_its_operands():
    x = np.arange(6.0).reshape(2, 3)
    (outer,) = parse("A[i, k] = Σ_j x[i, j]·x[k, j]").statements
    assert result(outer, {"x": x}) == pytest.approx(x @ x.T)
    (norm,) = parse("n′ = √(Σ_k x⟨k⟩²)").statements
    assert result(norm, {"x": x}) == pytest.approx(np.linalg.norm(x))


@pytest.mark.parametrize(
    ("operands", "shown"),
    [
        ({"a": 0.99895348, "b": 1.0}, "0.99895 − 1 = −0.0010465"),
        ({"a": 2.25, "b": 1.123456}, "2.25 − 1.123 = 1.127"),  # nothing cancels
        ({"a": 0.1 + 0.2, "b": 0.3}, "0.3 − 0.3 = 5.551e−17"),  # nothing but rounding is left
    ],
)
def test_what_is_written_gives_the_value_to_two_digits(operands, shown):
    assert parse("y = a − b").substitute(operands, ()) == shown
