"""Products of two inputs and bags of embeddings equal PyTorch's, in float64."""

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn
from tests.against.test_torch_nn import check, seeded, twins

ROWS = np.array([[1, 2, 2], [0, 4, 3], [3, 3, 3]])
FLAT, OFFSETS = np.array([1, 2, 2, 0, 4, 3, 3]), np.array([0, 3, 3, 6])


@pytest.mark.parametrize("padding_idx", [None, 3])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags(mode, padding_idx):
    pair = twins(lambda lib: lib.EmbeddingBag(5, 4, mode=mode, padding_idx=padding_idx))
    check(*pair, ROWS if mode != "max" else ROWS[:2, [0, 1]])
    check(*pair, FLAT[[0, 1, 3, 4, 5]], np.array([0, 2, 2, 4]))
    if mode != "max":  # where equal numbers share the derivative here, and the first has it there
        check(*pair, FLAT, OFFSETS)


def test_weighted_bags():
    check(*twins(lambda lib: lib.EmbeddingBag(5, 4, mode="sum")), ROWS, seeded(3, 3),
          call=lambda model, x, w: model(x, per_sample_weights=w))  # fmt: skip


def test_bags_with_the_last_offset():
    pair = twins(lambda lib: lib.EmbeddingBag(5, 4, include_last_offset=True))
    check(*pair, FLAT, np.array([0, 3, 7]))


def test_bags_compiled():
    layer = nn.EmbeddingBag(5, 4, mode="sum")
    args = cr.asarray(FLAT), cr.asarray(OFFSETS)
    np.testing.assert_allclose(cr.compile(layer)(*args), layer(*args), rtol=1e-6)


def test_bags_that_are_wrong_are_told():
    layer = nn.EmbeddingBag(5, 4)
    for args, says in (
        ((FLAT,), "offsets left out"),
        ((ROWS, OFFSETS), "leave the offsets out"),
        ((FLAT, np.array([1, 3])), r"rise from 0 to at most 7.*\[1, 3\]"),
        ((FLAT, np.array([0, 9])), "at most 7"),
        ((np.array([7]), np.array([0])), "7"),
    ):
        with pytest.raises(cr.ShapeError, match=says):
            layer(*map(cr.asarray, args))
    with pytest.raises(cr.ShapeError, match='go with mode="sum"'):
        layer(cr.asarray(ROWS), per_sample_weights=cr.ones((3, 3)))
    with pytest.raises(cr.DTypeError, match="mode is"):
        nn.EmbeddingBag(5, 4, mode="median")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("front", [(), (5,), (2, 3)])
def test_bilinear(front, bias):
    pair = twins(lambda lib: lib.Bilinear(3, 4, 2, bias=bias))
    check(*pair, seeded(*front, 3), seeded(*front, 4, seed=1))


def rotated(x, positions, base):
    """As PyTorch's own users write it: multiplication by e^(iθ)."""
    size = x.shape[-1]
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], size // 2, 2))
    angles = positions[:, None] * base ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    turned = pairs * torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(turned).reshape(x.shape)


@pytest.mark.parametrize("base", [10_000.0, 50.0])
def test_rotary_embeddings_are_products_of_complex_numbers(base):
    x, positions = seeded(2, 3, 5, 8), np.array([0, 3, 4, 9, 100_000])
    halves = [0, 2, 4, 6, 1, 3, 5, 7]  # neighbours to halves
    theirs = rotated(torch.tensor(x), torch.tensor(positions).double(), base)
    ours = nn.rotary_embedding(x, positions, base, interleaved=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
    split = nn.rotary_embedding(x[..., halves], positions, base)
    np.testing.assert_allclose(split, theirs[..., halves], rtol=1e-12, atol=1e-12)


def test_rotary_products_depend_on_the_distance_alone():
    q, k = seeded(1, 8), seeded(1, 8, seed=1)

    def product(i, j):
        a, b = (nn.rotary_embedding(x, np.array([p])) for x, p in ((q, i), (k, j)))
        return float((a * b).sum())

    assert product(7, 3) == pytest.approx(product(1007, 1003), rel=1e-9)
    assert product(7, 3) != pytest.approx(product(7, 4))


def test_sines_and_cosines_of_positions():
    found = nn.sinusoidal_positions(6, 5).numpy()
    for p in range(6):
        for k in range(5):
            angle = p / 10_000 ** ((k - k % 2) / 5)
            assert found[p, k] == pytest.approx(np.cos(angle) if k % 2 else np.sin(angle), abs=1e-7)
    x = seeded(3, 6, 5)
    for first in (True, False):
        layer = nn.PositionalEncoding(5, batch_first=first)
        y = layer(x if first else x.swapaxes(0, 1)).numpy()
        np.testing.assert_allclose(y if first else y.swapaxes(0, 1), x + found, rtol=1e-6)
