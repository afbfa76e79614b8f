"""What an operation returns has the dtype, and the shape, that its rule says: in every dtype."""

import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ChainruleError
from chainrule.ops.elementwise import Elementwise
from chainrule.tensor.dtypes import as_dtype
from tests.ops.test_registry import OURS, samples

DTYPES = ["float16", "bfloat16", "complex64", "int32", "bool"]


def converted(x, dtype):
    """The floating-point arrays among arguments in another dtype."""
    if isinstance(x, (list, tuple)):
        return type(x)(converted(part, dtype) for part in x)
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fc":
        return x
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # that a complex number loses its imaginary part
        return (np.nan_to_num(x) if dtype.kind in "iub" else x).astype(dtype)


def mismatches(op):
    """(dtype, what the rule says, what comes out) where these differ, of what is not refused."""
    found = []
    for args, kwargs in samples(op)[:2]:
        for name in DTYPES:
            given = [converted(x, as_dtype(name)) for x in args]
            try:
                if isinstance(op, Elementwise):
                    inputs, attrs = list(map(cr.asarray, given)), {}
                else:
                    inputs, attrs = op.arguments(*given, **kwargs)
                y = op.apply(inputs, attrs)
            except ChainruleError:
                continue
            said = op.shape(*inputs, **attrs)
            if said != (y.shape, y.dtype):
                found.append((name, said, (y.shape, y.dtype)))
    return found


@pytest.mark.parametrize("op", OURS.values(), ids=OURS)
def test_dtype(op):
    assert mismatches(op) == []


def test_a_widening_forward_is_seen(monkeypatch):
    monkeypatch.setattr(cr.exp, "forward", lambda x: np.exp(x) * np.float64(1))
    assert {name for name, _, _ in mismatches(cr.exp)} >= {"float16", "bfloat16"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_added_up_as_float32(dtype):
    """1 added 3000 times: in halves themselves it would stay at 2048, or at 256."""
    x = cr.ones((3000,), dtype=dtype)
    for total in (x.sum(), cr.cumulative_sum(x)[-1], x @ x, x.sum_to(())):
        assert total.dtype == x.dtype
        assert abs(float(total) - 3000) <= 8
    assert float(cr.mean(x)) == 1


def test_python_numbers_do_not_widen_bfloat16():
    x = cr.ones((2,), dtype="bfloat16")
    for y in (x * 0.1, 0.1 - x, x**2, x / 3, cr.where(x > 0, x, 0.5), cr.maximum(x, 0.0)):
        assert y.dtype == x.dtype
    assert (x * 0.1)[0].item() == 0.10009765625  # 0.1 to 8 bits


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor", "bitwise_and"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_logic_refuses_floats(name, dtype):
    x = cr.ones((2,), dtype=dtype)
    with pytest.raises(cr.DTypeError, match="booleans"):
        getattr(cr, name)(x, x)
