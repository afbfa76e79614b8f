"""einsum on random equations against NumPy's, and what it says of equations that are none."""

import string

import numpy as np
import pytest

import chainrule as cr


def random_case(rng):
    """(equation, arrays): up to five operands, repeated labels, ellipses, axes of size 1."""
    letters = list(rng.choice(list(string.ascii_letters), 5, replace=False))
    sizes = {letter: int(rng.integers(1, 4)) for letter in letters}
    hidden = tuple(int(n) for n in rng.integers(1, 4, 2))
    terms, arrays, dots = [], [], False
    for _ in range(int(rng.integers(1, 6))):
        term = list(rng.choice(letters, int(rng.integers(0, 4))))
        once = [c for c in term if term.count(c) == 1]
        shape = [1 if c in once and rng.random() < 0.1 else sizes[c] for c in term]
        if rng.random() < 0.3:
            place, many = int(rng.integers(0, len(term) + 1)), int(rng.integers(0, 3))
            term.insert(place, "...")
            shape[place:place] = [1 if rng.random() < 0.2 else n for n in hidden[2 - many :]]
            dots = True
        terms.append("".join(term))
        arrays.append(rng.standard_normal(shape))
    equation = ",".join(terms)
    known = sorted({c for term in terms for c in term if c != "."})
    if rng.random() < 0.7:
        chosen = [str(c) for c in rng.permutation(known)[: int(rng.integers(0, len(known) + 1))]]
        if dots:
            chosen.insert(int(rng.integers(0, len(chosen) + 1)), "...")
        equation += "->" + "".join(chosen)
    return equation, arrays


@pytest.mark.parametrize("seed", range(40))
def test_random_equations(seed):
    rng = np.random.default_rng(seed)
    for _ in range(10):
        equation, arrays = random_case(rng)
        wanted = np.einsum(equation, *arrays)
        found = cr.einsum(equation, *map(cr.asarray, arrays))
        assert found.shape == wanted.shape, equation
        np.testing.assert_allclose(found.numpy(), wanted, 1e-10, 1e-12, err_msg=equation)


def test_numpys_lists_of_numbers():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    for args in [(a, [0, 1], b, [1, 2], [0, 2]), (a, [1, 0]), (a, [..., 1], b, [1, 3], [..., 3])]:
        assert np.array_equal(cr.einsum(*args), np.einsum(*args))


@pytest.mark.parametrize("dtype", ["int64", "float16", "complex64"])
def test_dtypes_are_kept(dtype):
    a, b = np.ones((2, 3)).astype(dtype), np.ones((3, 2)).astype(dtype)
    y = cr.einsum("ij,jk->ik", a, b)
    assert y.dtype == np.dtype(dtype)
    assert np.array_equal(y, np.einsum("ij,jk->ik", a, b))


def test_a_good_order_of_pairs_is_found():
    """Left to right would make an array of a thousand million numbers."""
    n = 1000
    column, row = cr.ones((n, 1)), cr.ones((1, n))
    y = cr.einsum("ai,ib,bj,jc,ck,kd,dl,la->", column, row, column, row, column, row, column, row)
    assert y.item() == pytest.approx(float(n) ** 4, rel=1e-5)


def test_derivatives_of_the_whole_are_einsums_too():
    rng = np.random.default_rng(0)
    a, b, c = (cr.asarray(rng.standard_normal((3, 3))) for _ in range(3))
    found = cr.grad(lambda b: cr.einsum("ij,jk,ki->", a, b, c))(b)
    np.testing.assert_allclose(found, np.einsum("ij,ki->jk", a, c), 1e-12)


@pytest.mark.parametrize(
    ("equation", "shapes", "told"),
    [
        ("ij,jk->ik", [(2, 3)], "of 2 operands, and 1 are given"),
        ("ij->i", [(2, 3, 4)], "names 2 axes, and its operand is"),
        ("ijk->i", [(2, 3)], "names 3 axes"),
        ("ij,jk", [(2, 3), (4, 5)], "'j' in .* stands for 3 and for 4"),
        ("ij->ik", [(2, 3)], "'k' in the result"),
        ("ij->ii", [(2, 3)], "twice in the result"),
        ("i1->i", [(2, 3)], "'1' in .* is no label"),
        ("i.j->i", [(2, 3)], "is no label"),
        ("ii->i", [(2, 3)], "stands for 2 and for 3"),
        ("...i->i", [(2, 3)], "write ... in the result"),
        ("i->->i", [(2,)], "is no label"),
        ("", [], "0 are given"),
    ],
)
def test_what_does_not_fit_is_told(equation, shapes, told):
    with pytest.raises(cr.ShapeError, match=f"`einsum`.*{told}"):
        cr.einsum(equation, *(cr.ones(s) for s in shapes))


@pytest.mark.parametrize("args", [(), (3,), (cr.ones(2), cr.ones(2)), (cr.ones(2), ["i"])])
def test_what_is_no_equation_is_told(args):
    with pytest.raises(cr.ChainruleError, match="`einsum`"):
        cr.einsum(*args)
