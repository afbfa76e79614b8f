"""Tensors as Python objects beside NumPy arrays: numbers, operators, printing, copies, messages."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn


def test_as_a_python_number():
    assert cr.asarray(2.5).item() == 2.5
    assert float(cr.asarray([2.5])) == 2.5
    assert [10, 20, 30][cr.asarray(1)] == 20
    assert bool(cr.asarray(True))
    assert f"{cr.asarray(2.0):.1f}" == "2.0"
    with pytest.raises(cr.ShapeError, match=r"all\(\)|any\(\)"):
        bool(cr.ones(2))
    with pytest.raises(cr.ShapeError):
        cr.ones(2).item()
    assert len(cr.ones((3, 2))) == 3
    assert [row.shape for row in cr.ones((3, 2))] == [(2,)] * 3
    with pytest.raises(TypeError):
        len(cr.asarray(1.0))


def test_printing():
    assert repr(cr.asarray([1.0, 2.5])) == "tensor([1. , 2.5])"
    assert "dtype=int64" in repr(cr.arange(2))
    assert "requires_grad" in repr(cr.asarray([1.0], requires_grad=True))


def test_copies_and_pickles():
    x = cr.arange(3.0)
    for other in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert (other.numpy() == x.numpy()).all()
        assert other.dtype == x.dtype


def test_operators_are_numpys():
    a = np.array([[1.0, -2.0], [3.5, 4.0]])
    b = np.array([2.0, 0.5])
    x, y = cr.asarray(a), cr.asarray(b)
    for ours, theirs in [
        (x + y, a + b), (x - 1, a - 1), (2 - x, 2 - a), (x * y, a * b), (x / y, a / b),
        (x // y, a // b), (x % y, a % b), (x**2, a**2), (2**y, 2**b), (-x, -a), (abs(x), abs(a)),
        (x @ y, a @ b), (x > y, a > b), (x == a, a == a), (x != y, a != b), (x <= 1, a <= 1),
        ((x > 0) & (x < 3), (a > 0) & (a < 3)), (~(x > 0), ~(a > 0)), (x.T, a.T),
    ]:  # fmt: skip
        assert (ours.numpy() == theirs).all()


def test_large_reductions_round_like_pairwise_sums():
    x = np.full((1_000_000, 2), 0.1, np.float32)
    assert cr.asarray(x).sum(axis=0).numpy() == pytest.approx([100000, 100000], rel=1e-6)


def test_no_numpy_warning_reaches_the_user():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cr.log(cr.asarray(0.0)).item() == -np.inf
        assert np.isnan((cr.asarray(0.0) / 0.0).item())


def test_messages_name_operation_module_and_line():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(784, 512)

        def forward(self, x):
            return self.fc1(x)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = Encoder()

        def forward(self, x):
            return self.encoder(x)

    with pytest.raises(
        cr.ShapeError, match=r"`linear` in `encoder.fc1` \(test_tensor.py:\d+\)"
    ) as e:
        Net()(cr.ones((32, 512)))
    assert "(512, 784)" in str(e.value)
    assert "transposed?" in str(e.value)
    with pytest.raises(ValueError, match=r"`matmul` .*inner sizes differ.*784 against 512"):
        cr.ones((32, 784)) @ cr.ones((512, 784))


def test_iteration_and_length():
    x = cr.asarray(np.arange(6.0).reshape(3, 2), requires_grad=True)
    total = sum((row.sum() * i for i, row in enumerate(x)), start=cr.asarray(0.0))
    total.backward()
    assert x.grad.tolist() == [[0, 0], [1, 1], [2, 2]]
    first, *rest = cr.arange(3)
    assert first.item() == 0
    assert [r.item() for r in rest] == [1, 2]
    for nothing in (len, list, lambda t: 1 in t):
        with pytest.raises(TypeError, match="without dimensions"):
            nothing(cr.asarray(1.0))


@pytest.mark.parametrize("shape", [(2,), (0,), (2, 1)])
def test_only_one_element_is_a_number(shape):
    t = cr.ones(shape)
    for convert in (bool, int, float, complex):
        name = convert.__name__
        with pytest.raises(ValueError, match=rf"{name}\(\).*\.any\(\) or \.all\(\)"):
            convert(t)
    with pytest.raises(ValueError, match=r"tolist\(\)"):
        t.item()


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float32", "float64", "complex64"])
def test_items_and_lists_are_numpys(dtype):
    a = np.arange(6).reshape(2, 3).astype(dtype)
    assert cr.asarray(a).tolist() == a.tolist()
    assert [type(v) for v in cr.asarray(a)[1].tolist()] == [type(v) for v in a[1].tolist()]
    item = cr.asarray(a)[1, 2].item()
    assert item == a[1, 2].item()
    assert type(item) is type(a[1, 2].item())


def test_no_attribute_is_made_by_a_slip():
    x = cr.ones(2)
    with pytest.raises(AttributeError):
        x.requires_gard = True
    with pytest.raises(AttributeError):
        x.nothing  # noqa: B018
    with pytest.raises(AttributeError):
        x.shape = (1, 2)


def test_tensors_are_keys():
    a, b = cr.ones(2), cr.ones(2)
    assert {a: 1, b: 2}[a] == 1


def test_what_is_no_number_is_refused_by_operators():
    x = cr.ones(2)
    for other in (None, "a", object()):
        with pytest.raises(TypeError):
            x + other
        with pytest.raises(TypeError):
            other * x
    assert (x == None) is False  # noqa: E711


def test_requires_grad_belongs_to_what_one_made_oneself():
    x = cr.asarray([1.0, 2.0], requires_grad=True)
    assert x.is_leaf
    y = x * 2
    assert y.requires_grad
    assert not y.is_leaf
    with pytest.raises(cr.GradientError, match=r"`multiply`.*detach"):
        y.requires_grad = False
    with pytest.raises(cr.GradientError, match=r"astype\(cr\.float32\)"):
        cr.arange(2).requires_grad = True
    with pytest.raises(cr.ShapeError, match=r"\(2,\).*\(3,\)"):
        x.grad = cr.ones(3)
    with pytest.raises(cr.GradientError, match="detach"):
        copy.deepcopy(y)
    x.requires_grad = False
    assert not (x * 2).requires_grad


def test_only_one_device():
    x = cr.ones(2)
    assert x.device == "cpu"
    assert x.to_device("cpu") is x
    with pytest.raises(ValueError, match="cuda"):
        x.to_device("cuda")
