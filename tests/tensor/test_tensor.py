"""Tensors beside NumPy arrays: creation, dtypes, indexing, handles, memory."""

import copy
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import chainrule as cr
from chainrule import nn
from chainrule.tensor import debug, generator


def test_creation_as_numpy_does_it():
    for ours, theirs in [
        (cr.zeros((2, 3)), np.zeros((2, 3), np.float32)),
        (cr.ones(4, dtype=cr.int64), np.ones(4, np.int64)),
        (cr.full((2,), 7), np.full(2, 7)),
        (cr.full((2,), 1.5), np.full(2, 1.5, np.float32)),
        (cr.arange(3), np.arange(3)),
        (cr.arange(1.0, 2.0, 0.25), np.arange(1, 2, 0.25, np.float32)),
        (cr.linspace(0, 1, 5), np.linspace(0, 1, 5, dtype=np.float32)),
        (cr.eye(3, k=1), np.eye(3, k=1, dtype=np.float32)),
        (cr.tril(cr.ones((3, 3))), np.tril(np.ones((3, 3), np.float32))),
        (cr.triu(cr.ones((2, 3)), k=1), np.triu(np.ones((2, 3), np.float32), k=1)),
        *zip(
            cr.meshgrid(cr.arange(2), cr.arange(3), cr.arange(4)),
            np.meshgrid(np.arange(2), np.arange(3), np.arange(4)),
            strict=True,
        ),
        *zip(
            cr.meshgrid(cr.arange(2), cr.arange(3), indexing="ij"),
            np.meshgrid(np.arange(2), np.arange(3), indexing="ij"),
            strict=True,
        ),
        (cr.asarray([[1, 2], [3, 4]]), np.array([[1, 2], [3, 4]])),
        (cr.asarray([True, False]), np.array([True, False])),
        (cr.asarray(1 + 2j), np.complex64(1 + 2j)),
    ]:
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert (ours.numpy() == theirs).all()


def test_float32_is_the_default_and_float64_stays():
    assert cr.asarray(1.5).dtype == cr.float32
    assert cr.asarray([1.5, 2]).dtype == cr.float32
    assert cr.asarray(np.array([1.5])).dtype == cr.float64
    assert (cr.ones(2) + 1.5).dtype == cr.float32
    assert (cr.ones(2) * np.float64(1.5)).dtype == cr.float32
    assert (cr.ones(2) + np.array([1.5, 2.5])).dtype == cr.float64
    assert (cr.arange(3) / 2).dtype == cr.float32
    assert (cr.arange(3) * 2).dtype == cr.int64


DTYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float32", "float64"]


@pytest.mark.parametrize("a", DTYPES)
@pytest.mark.parametrize("b", DTYPES)
def test_promotion_within_a_kind_is_numpys(a, b):
    kinds = {np.dtype(d).kind for d in (a, b)}
    if kinds - {"f"} and "f" in kinds:
        wanted = a if np.dtype(a).kind == "f" else b  # the floating-point side decides
    else:
        wanted = np.result_type(a, b).name
        if wanted == "float64" and kinds == {"i", "u"}:
            return  # no integer holds both; NumPy's answer is a float
    assert (cr.ones(1, dtype=a) + cr.ones(1, dtype=b)).dtype.name == wanted


keys = st.one_of(
    st.integers(-3, 2),
    st.slices(3),
    st.just(None),
    st.just(Ellipsis),
    hnp.arrays(np.int64, st.integers(0, 4), elements=st.integers(-3, 2)),
)


@given(st.lists(keys, max_size=4))
@settings(max_examples=300, deadline=None)
def test_reading_parts_is_numpys(parts):
    x = np.arange(27.0).reshape(3, 3, 3)
    key = tuple(parts)
    try:
        wanted = x[key]
    except IndexError:
        with pytest.raises((IndexError, cr.ShapeError)):
            cr.asarray(x)[key]
        return
    found = cr.asarray(x)[key]
    assert found.shape == wanted.shape
    assert (found.numpy() == wanted).all()


@given(hnp.arrays(bool, (3, 4)))
@settings(max_examples=50, deadline=None)
def test_masks(mask):
    x = np.arange(12.0).reshape(3, 4)
    t = cr.asarray(x)
    assert (t[mask].numpy() == x[mask]).all()
    t[mask] = -1.0
    x[mask] = -1.0
    assert (t.numpy() == x).all()


def test_a_new_value_is_the_handles_alone():
    x = cr.arange(4.0)
    same, part = x, x[1:3]
    x[1] = 10.0
    assert same.tolist() == [0, 10, 2, 3]
    assert part.tolist() == [1, 2]
    x += 1
    assert same.tolist() == [1, 11, 3, 4]
    with pytest.raises(cr.ShapeError):
        x += cr.ones((3, 4))


def test_writing_has_a_derivative():
    def f(v):
        x = cr.zeros(3) + 1
        x[1] = v
        return (x**2).sum()

    assert cr.grad(f)(cr.asarray(3.0)).item() == 6.0


def test_numpy_and_back_without_a_copy():
    x = cr.arange(4.0)
    view = np.asarray(x)
    assert not view.flags.writeable
    assert np.shares_memory(view, x.numpy())
    array = np.arange(4.0)
    assert not np.shares_memory(cr.asarray(array).numpy(), array)
    assert np.shares_memory(cr.asarray(array, copy=False).numpy(), array)
    assert x.numpy(copy=True).flags.writeable
    product = np.ones(4) * x
    assert isinstance(product, cr.Tensor)


def test_dlpack_both_ways_without_a_copy():
    x = cr.arange(6.0).reshape(2, 3)
    out = np.from_dlpack(x)
    assert np.shares_memory(out, x.numpy())
    array = np.arange(6.0)
    back = cr.from_dlpack(array)
    assert np.shares_memory(back.numpy(), array)
    w = nn.Parameter(cr.ones(2))
    with pytest.raises((cr.GradientError, BufferError), match="detach"):
        np.from_dlpack(w)
    assert np.from_dlpack(w.detach()).tolist() == [1, 1]


def test_parameters_are_live_views_and_versions_are_watched():
    w = nn.Parameter(cr.ones(2))
    live, kept = np.asarray(w), w.numpy(copy=True)
    loss = (w * w).sum()
    with cr.no_grad():
        w.assign([5.0, 6.0])
    assert live.tolist() == [5, 6]
    assert kept.tolist() == [1, 1]
    with pytest.raises(cr.GradientError, match="version"):
        loss.backward()


def test_a_slice_of_a_parameter_survives_an_update():
    w = nn.Parameter(cr.arange(4.0))
    part = w[1:3]
    with cr.no_grad():
        w.assign(w * 10)
    assert part.tolist() == [1, 2]


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


# Random numbers


KNOWN_ANSWERS = [  # from Random123's kat_vectors, philox4x32-10: counter, key, words
    ([0, 0, 0, 0], [0, 0], "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_philox_known_answers(counter, key, words):
    found = generator.philox(tuple(key), np.array([counter], np.uint64))[0]
    assert " ".join(f"{int(word):08x}" for word in found) == words


def test_seeds_and_splits():
    cr.seed(5)
    first = cr.random.normal((100,)).numpy()
    cr.seed(5)
    assert (cr.random.normal((100,)).numpy() == first).all()
    a, b = cr.Generator(5).split()
    x, y = (cr.random.normal((2000,), generator=g).numpy() for g in (a, b))
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.08


def test_distributions_against_scipy():
    from scipy import stats

    g = cr.Generator(1)
    uniform = cr.random.uniform((20000,), -1, 3, generator=g).numpy()
    assert stats.kstest(uniform, stats.uniform(-1, 4).cdf).pvalue > 1e-3
    normal = cr.random.normal((20000,), 2.0, 3.0, generator=g).numpy()
    assert stats.kstest(normal, stats.norm(2, 3).cdf).pvalue > 1e-3
    assert cr.random.bernoulli(0.3, (20000,), generator=g).numpy().mean() == pytest.approx(
        0.3, abs=0.02
    )
    whole = cr.random.integers(2, 5, (3000,), generator=g).numpy()
    assert set(whole.tolist()) == {2, 3, 4}
    order = cr.random.permutation(50, generator=g).numpy()
    assert sorted(order.tolist()) == list(range(50))


# The debug ladder


def test_debug_ladder(capsys):
    layer = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    seen = {}
    for level in range(5):
        with debug.at(level):
            layer(cr.ones((1, 2))).sum().backward()
        seen[level] = capsys.readouterr().err
    assert seen[0] == ""
    assert "relu" in seen[1]
    assert "test_tensor.py" in seen[1]
    assert "µs" not in seen[1]
    assert "bytes" in seen[2]
    assert "←" not in seen[2]
    assert "←" in seen[3]
    assert "mean" in seen[4]


def test_debug_from_the_environment():
    code = "import chainrule as cr; cr.ones(2) + 1"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env={"CHAINRULE_DEBUG": "1", "PYTHONPATH": "."},
    )  # fmt: skip
    assert "add" in done.stderr


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
