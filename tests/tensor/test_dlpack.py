"""Memory shared with NumPy, by views and by DLPack."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn


def address(array):
    return np.asarray(array).__array_interface__["data"][0]


def test_asarray_of_a_tensor_is_a_view_that_is_not_written_to():
    x = cr.arange(4.0)
    view = np.asarray(x)
    assert address(view) == address(x.numpy())
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    own = x.numpy(copy=True)
    own[0] = 9
    assert np.array(x).flags.writeable
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(x, dtype=np.float64, copy=False)
    assert x.tolist() == [0, 1, 2, 3]


def test_an_array_beside_a_tensor_is_a_tensors_business():
    x, a = cr.arange(1.0, 5.0), np.arange(1, 5, dtype=np.float32)
    for ours, theirs in [
        (a * x, a * a), (a + x, a + a), (a - x, a - a), (a / x, a / a), (a**x, a**a),
        (a @ x, a @ a), (a < x, a < a), (a == x, a == a), (a // x, a // a), (a % x, a % a),
        (np.float32(2) * x, 2 * a),
    ]:  # fmt: skip
        assert isinstance(ours, cr.Tensor)
        assert (ours.numpy() == theirs).all()
    w = cr.asarray(a, requires_grad=True)
    (a * w).sum().backward()
    assert w.grad.tolist() == a.tolist()


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float32", "complex128"])
@pytest.mark.parametrize("part", [np.s_[:], np.s_[::2], np.s_[:, ::-1], np.s_[1:1]])
def test_dlpack_both_ways_without_a_copy(dtype, part):
    a = np.arange(12).reshape(4, 3).astype(dtype)[part]
    t = cr.from_dlpack(a)
    assert (t.numpy() == a).all()
    out = np.from_dlpack(t)
    assert out.dtype == a.dtype
    assert (out == a).all()
    if a.size:
        assert address(t.numpy()) == address(out) == address(a)


def test_dlpack_hands_out_nothing_to_write_to():
    x = cr.arange(3.0)
    assert not np.from_dlpack(x).flags.writeable
    assert x.__dlpack_device__() == (1, 0)


def test_dlpack_copies_when_told():
    a = np.arange(3.0)
    t = cr.from_dlpack(a, copy=True)
    a[0] = 9
    assert t.tolist() == [0, 1, 2]


def test_dlpack_is_refused_where_a_derivative_would_be_lost():
    w = nn.Parameter(cr.ones(2))
    for tensor in (w, w * 2):
        with pytest.raises((cr.GradientError, BufferError), match=r"x\.detach\(\)"):
            np.from_dlpack(tensor)
    assert np.from_dlpack(w.detach()).tolist() == [1, 1]
