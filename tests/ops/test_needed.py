"""One element is what the whole result has in its place, of formulas whose intermediate values are
computed only where the element reads them."""

import numpy as np
import pytest

from chainrule.ops.notation import parse
from chainrule.ops.notation.needed import needed
from chainrule.ops.notation.substitute import fixed_by

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4))


@pytest.mark.parametrize(
    ("text", "places"),
    [
        # The letter under the sum is that of the result.
        ("s[i] = Σ_j exp(x[i, j]); y[i, j] = exp(x[i, j]) / s[i]", {"s": {"i": 1}}),
        ("s[…] = Σ_j exp(x[…, j]); y[…, j] = x[…, j] / s[…]", {"s": {("…", -1): 1}}),
        # Read in two places, or in a place that is computed, or along a sum.
        ("s[i, j] = x[i, j]²; y[i, j] = s[i, j] − s[i, 0]", {"s": {"i": 1}}),
        ("s[i, j] = x[i, j]²; y[i, j] = s[i, 0] − s[i, j]", {"s": {"i": 1}}),
        ("s[i, j] = x[i, j]²; y[i, j] = s[i, j] + s[i, j − 1]", {"s": {"i": 1}}),
        ("s[i, j] = x[i, j]²; y[i, j] = x[i, j] · Σ_k s[k, j]", {"s": {"j": 2}}),
        ("s[i, j] = x[i, j]²; y[i, k] = Σ_j s[i, j] · x[j, k]", None),
        # Other letters than those of the result, and another order.
        ("s[p, q] = x[q, p]²; y[i, j] = s[j, i] + 1", {"s": {"p": 2, "q": 1}}),
        # One after the other.
        (
            "m[i] = max_j x[i, j]; s[i] = Σ_j exp(x[i, j] − m[i]); y[i, j] = s[i] · x[i, j]",
            {"m": {"i": 1}, "s": {"i": 1}},
        ),
        ("m = max_{i, j} x[i, j]; s[i] = Σ_j x[i, j] / m; y[i, j] = s[i] + m", None),
        # Element by element, and in row-major order.
        ("s = x²; y = s + 1", {"s": {("…", -2): 1, ("…", -1): 2}}),
        ("s = x²; y[i, j] = Σ_n s⟨n⟩ · x[i, j]", {"s": {}}),
        # Never read.
        ("s[i] = Σ_j x[i, j]; y[i, j] = 2 · x[i, j]", {"s": {}}),
    ],
)
def test_an_element_is_that_of_the_whole(text, places):
    formula = parse(text)
    operands = {"x": X if "x[j, k]" not in text else X[:, :3]}
    shape = operands["x"].shape
    whole = formula.evaluate(operands, shape)
    for index in np.ndindex(shape):
        found = formula.instantiate(operands, index)
        assert found.value == pytest.approx(whole[index], rel=1e-14)
        assert found.recomputed() == pytest.approx(whole[index], rel=1e-13)
    if places is not None:
        fixed = fixed_by(formula.statements[-1].target, (1, 2))
        assert needed(formula.statements, fixed) == places


def test_only_that_place_is_computed():
    """Elsewhere in the intermediate values there may be what cannot be computed."""
    formula = parse("s[i] = Σ_j x[i, j]; y[i, j] = x[i, j] / s[i]")
    x = X.copy()
    x[2] = np.nan
    assert formula.instantiate({"x": x}, (0, 1)).value == pytest.approx(x[0, 1] / x[0].sum())


def test_a_batch_that_one_operand_lacks():
    """The axes behind … broadcast."""
    formula = parse("s[…] = Σ_j w[…, j]; y[…, j] = x[…, j] · s[…]")
    operands = {"x": RNG.normal(size=(2, 3, 4)), "w": RNG.normal(size=(3, 4))}
    whole = formula.evaluate(operands, (2, 3, 4))
    for index in np.ndindex(2, 3, 4):
        assert formula.instantiate(operands, index).value == pytest.approx(whole[index])
