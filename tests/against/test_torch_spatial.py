"""Convolution, pooling, interpolation and their layers, against PyTorch: value and gradients."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import chainrule as cr
from chainrule import nn

SIZES = {1: (7,), 2: (7, 6), 3: (5, 6, 4)}


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def agree(ours, theirs, arrays, rtol=1e-10):
    """Value and gradients of two functions of the same arrays, in float64."""
    mine = [cr.asarray(a, requires_grad=True) for a in arrays]
    other = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours(*mine), theirs(*other)
    assert y.shape == tuple(z.shape)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol, 1e-11)
    g = np.random.default_rng(9).standard_normal(y.shape)
    (y * cr.asarray(g)).sum().backward()
    (z * torch.tensor(g)).sum().backward()
    for a, b in zip(mine, other, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol, 1e-11)


# Convolution

SETTINGS = [
    {"stride": s, "padding": p, "dilation": d, "groups": g}
    for s, p, d, g in itertools.product((1, 2), (0, 1), (1, 2), (1, 2))
]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_convolution(rank, settings):
    groups = settings["groups"]
    x = drawn(2, 4, *SIZES[rank])
    w = drawn(6, 4 // groups, *(2, 3, 2)[:rank], seed=1)
    b = drawn(6, seed=2)
    ours, theirs = getattr(nn, f"conv{rank}d"), getattr(F, f"conv{rank}d")
    agree(lambda *a: ours(*a, **settings), lambda *a: theirs(*a, **settings), (x, w, b))
    agree(lambda *a: ours(*a, **settings), lambda *a: theirs(*a, **settings), (x[0], w))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_convolution_with_named_padding(rank, padding):
    x, w = drawn(2, 3, *SIZES[rank]), drawn(4, 3, *(4, 3, 2)[:rank], seed=1)
    ours, theirs = getattr(nn, f"conv{rank}d"), getattr(F, f"conv{rank}d")
    for dilation in (1,) if padding == "valid" else (1, 2):
        steps = {"padding": padding, "dilation": dilation}
        agree(lambda *a, s=steps: ours(*a, **s), lambda *a, s=steps: theirs(*a, **s), (x, w))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("more", [0, 1])
def test_transposed_convolution(rank, settings, more):
    if more >= max(settings["stride"], settings["dilation"]):
        return
    groups = settings["groups"]
    x = drawn(2, 4, *(s - 2 for s in SIZES[rank]))
    w = drawn(4, 6 // groups, *(2, 3, 2)[:rank], seed=1)
    b = drawn(6, seed=2)
    ours, theirs = getattr(nn, f"conv_transpose{rank}d"), getattr(F, f"conv_transpose{rank}d")
    settings = {**settings, "output_padding": more}
    agree(lambda *a: ours(*a, **settings), lambda *a: theirs(*a, **settings), (x, w, b))
    agree(lambda *a: ours(*a, **settings), lambda *a: theirs(*a, **settings), (x[0], w))


@pytest.mark.parametrize("dtype", [cr.float16, "bfloat16"])
def test_half_precision_adds_up_in_float32(dtype):
    x, w = np.full((1, 4096, 3), 0.1, np.float32), np.full((1, 4096, 3), 1.0, np.float32)
    y = nn.conv1d(cr.asarray(x).astype(dtype), cr.asarray(w).astype(dtype))
    assert y.dtype == cr.asarray(x).astype(dtype).dtype
    each = float(cr.asarray(0.1).astype(dtype).astype(cr.float64).item())
    assert y.astype(cr.float64).item() == pytest.approx(4096 * 3 * each, rel=4e-3)


# Pooling

POOLS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "ceil_mode": True},
]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("settings", POOLS, ids=str)
def test_max_pooling_with_indices(rank, settings):
    x = drawn(2, 3, *SIZES[rank])
    ours, theirs = getattr(nn, f"max_pool{rank}d"), getattr(F, f"max_pool{rank}d")
    dilations = (1, 2) if settings["kernel_size"] == 2 else (1,)
    for dilation in dilations:
        steps = {**settings, "dilation": dilation}
        agree(lambda a, s=steps: ours(a, **s), lambda a, s=steps: theirs(a, **s), (x,))
        y, which = getattr(nn, f"max_pool{rank}d_with_indices")(x, **steps)
        z, wanted = theirs(torch.tensor(x), **steps, return_indices=True)
        assert np.array_equal(y, z)
        assert np.array_equal(which, wanted)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("size", [None, "whole"])
def test_unpooling(rank, size):
    x = drawn(2, 3, *SIZES[rank])
    size = SIZES[rank] if size else None
    y, which = getattr(nn, f"max_pool{rank}d_with_indices")(x, 2)
    wanted = torch.tensor(which.numpy())
    agree(
        lambda a: getattr(nn, f"max_unpool{rank}d")(a, which, 2, output_size=size),
        lambda a: getattr(F, f"max_unpool{rank}d")(a, wanted, 2, output_size=size),
        (np.asarray(y),),
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_of_equal_numbers_the_first_is_chosen(rank):
    x = np.random.default_rng(0).integers(0, 2, (2, 3, *SIZES[rank])).astype(np.float64)
    _, which = getattr(nn, f"max_pool{rank}d_with_indices")(x, 3, 2, 1)
    _, wanted = getattr(F, f"max_pool{rank}d")(torch.tensor(x), 3, 2, 1, return_indices=True)
    assert np.array_equal(which, wanted)
    name = f"max_pool{rank}d"
    agree(lambda a: getattr(nn, name)(a, 3, 2, 1), lambda a: getattr(F, name)(a, 3, 2, 1), (x,))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("settings", POOLS, ids=str)
@pytest.mark.parametrize("pad", [True, False])
def test_mean_pooling(rank, settings, pad):
    x = drawn(2, 3, *SIZES[rank])
    ours, theirs = getattr(nn, f"avg_pool{rank}d"), getattr(F, f"avg_pool{rank}d")
    more = [{}] if rank == 1 else [{}, {"divisor_override": 5}]
    for extra in more:
        s = {**settings, "count_include_pad": pad, **extra}
        agree(lambda a, s=s: ours(a, **s), lambda a, s=s: theirs(a, **s), (x,))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("power", [1, 2, 3.0])
def test_pooling_of_powers(rank, power):
    x = np.abs(drawn(2, 3, *SIZES[rank])) + 0.1
    ours, theirs = getattr(nn, f"lp_pool{rank}d"), getattr(F, f"lp_pool{rank}d")
    for steps in ((2,), (2, 1), (3, 2, True)):
        agree(lambda a, s=steps: ours(a, power, *s), lambda a, s=steps: theirs(a, power, *s), (x,))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_pooling_to_a_size(rank, kind):
    name = f"adaptive_{kind}_pool{rank}d"
    ours, theirs = getattr(nn, name), getattr(F, name)
    x = drawn(2, 3, *SIZES[rank])
    for size in (1, 3, (4, None, 3)[:rank], (9, 2, 5)[:rank]):
        agree(lambda a, n=size: ours(a, n), lambda a, n=size: theirs(a, n), (x,))
        agree(lambda a, n=size: ours(a, n), lambda a, n=size: theirs(a, n), (x[0],))
        if kind == "max":
            found = getattr(nn, f"{name}_with_indices")(x, size).indices
            assert np.array_equal(found, theirs(torch.tensor(x), size, return_indices=True)[1])


# Borders


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_borders(mode):
    x = drawn(2, 3, 5, 4)
    agree(
        lambda a: nn.pad(a, ((0, 0), (0, 0), (2, 4), (3, 0)), mode=mode),
        lambda a: F.pad(a, (3, 0, 2, 4), mode=mode),
        (x,),
    )


# Resampling and rearranging

SMOOTH = {1: ["linear"], 2: ["bilinear", "bicubic"], 3: ["trilinear"]}
RESIZED = [
    pytest.param(rank, mode, how, id=f"{rank}-{mode}-{how}")
    for rank in (1, 2, 3)
    for mode in ["nearest", "nearest-exact", "area", *SMOOTH[rank]]
    for how in [
        {"size": (9, 3, 5)[:rank]},
        {"scale_factor": 2.0},
        {"scale_factor": 0.6},
        {"scale_factor": 1.7},
        {"scale_factor": 1.7, "recompute_scale_factor": True},
    ]
]


@pytest.mark.parametrize(("rank", "mode", "how"), RESIZED)
def test_interpolation(rank, mode, how):
    x = drawn(2, 3, *SIZES[rank])
    for align in (None, True, False) if mode in SMOOTH[rank] else (None,):
        s = {**how, "mode": mode, "align_corners": align}
        agree(lambda a, s=s: nn.interpolate(a, **s), lambda a, s=s: F.interpolate(a, **s), (x,))


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 2},
        {"kernel_size": (3, 2), "stride": 2, "padding": 1},
        {"kernel_size": 2, "dilation": (2, 3), "padding": (0, 2)},
    ],
    ids=str,
)
def test_columns_of_windows_and_back(settings):
    x = drawn(2, 3, 6, 7)
    agree(lambda a: nn.unfold(a, **settings), lambda a: F.unfold(a, **settings), (x,))
    columns = np.asarray(nn.unfold(x, **settings))
    back = {"output_size": (6, 7), **settings}
    agree(lambda a: nn.fold(a, **back), lambda a: F.fold(a, **back), (columns,))
    agree(lambda a: nn.fold(a, **back), lambda a: F.fold(a, **back), (columns[0],))


def test_channels_and_pixels_change_places():
    x = drawn(2, 12, 4, 6)
    agree(lambda a: nn.pixel_shuffle(a, 2), lambda a: F.pixel_shuffle(a, 2), (x,))
    agree(lambda a: nn.pixel_unshuffle(a, 2), lambda a: F.pixel_unshuffle(a, 2), (x,))
    agree(lambda a: nn.channel_shuffle(a, 3), lambda a: F.channel_shuffle(a, 3), (x,))


# Layers: made with the same arguments, with the same state, giving the same

LAYERS = [
    ("Conv1d", (2, 4, 3), {"padding": 1, "padding_mode": "reflect"}, (2, 2, 7)),
    ("Conv2d", (2, 4, (3, 2)), {"padding": "same", "padding_mode": "circular"}, (2, 2, 7, 6)),
    ("Conv2d", (2, 4, 3, 2, (2, 1), 1, 2, False, "replicate"), {}, (2, 2, 7, 6)),
    ("Conv3d", (2, 4, 2, 1, 1, 2, 2), {"padding_mode": "circular"}, (1, 2, 4, 5, 3)),
    ("ConvTranspose1d", (4, 2, 3, 2, 1, 1, 2), {}, (2, 4, 5)),
    ("ConvTranspose2d", (4, 2, (3, 2), 2), {"bias": False, "dilation": 2}, (4, 5, 3)),
    ("ConvTranspose3d", (4, 2, 2), {"stride": (1, 2, 3)}, (2, 4, 2, 3, 2)),
    ("MaxPool1d", (2,), {}, (2, 3, 7)),
    ("MaxPool3d", (2, 1, 1), {}, (2, 3, 4, 5, 3)),
    ("AvgPool1d", (3, 2, 1), {"count_include_pad": False}, (2, 3, 7)),
    ("AvgPool2d", (2,), {"divisor_override": 3}, (2, 3, 7, 4)),
    ("AvgPool3d", (2,), {}, (2, 3, 4, 5, 3)),
    ("AdaptiveAvgPool1d", (3,), {}, (2, 3, 7)),
    ("AdaptiveAvgPool2d", ((None, 3),), {}, (2, 3, 7, 4)),
    ("AdaptiveAvgPool3d", (2,), {}, (2, 3, 4, 5, 3)),
    ("AdaptiveMaxPool1d", (3,), {}, (2, 3, 7)),
    ("AdaptiveMaxPool2d", ((2, 3),), {}, (3, 7, 4)),
    ("AdaptiveMaxPool3d", (2,), {}, (2, 3, 4, 5, 3)),
    ("LPPool1d", (2, 3), {}, (2, 3, 7)),
    ("LPPool2d", (2, 3, 1), {}, (2, 3, 7, 4)),
    ("LPPool3d", (2, 2), {}, (2, 3, 4, 5, 3)),
    ("Upsample", ((5, 9),), {"mode": "bilinear", "align_corners": True}, (2, 3, 4, 5)),
    ("Upsample", (), {"scale_factor": 2, "mode": "nearest"}, (2, 3, 4)),
    ("Unfold", ((2, 3), 1, 1, 2), {}, (2, 3, 4, 5)),
    ("Fold", ((4, 5), 2), {}, (2, 12, 12)),
    ("PixelShuffle", (2,), {}, (2, 8, 3, 2)),
    ("PixelUnshuffle", (2,), {}, (2, 2, 4, 6)),
    ("ChannelShuffle", (2,), {}, (2, 6, 2, 2)),
    *(
        (f"{kind}Pad{rank}d", ((1, 2, 2, 0, 1, 1)[: 2 * rank],), {}, (2, 3, 4, 5, 3)[: rank + 2])
        for kind in ("Zero", "Reflection", "Replication", "Circular")
        for rank in (1, 2, 3)
    ),
    ("ConstantPad1d", ((1, 2), 3.5), {}, (2, 3, 4)),
    ("ConstantPad2d", (1, 3.5), {}, (3, 4, 5)),
    ("ConstantPad3d", (2, -1.5), {}, (2, 3, 4, 5, 3)),
]


@pytest.mark.parametrize(
    ("name", "args", "options", "shape"),
    LAYERS,
    ids=[f"{n}-{i}" for i, (n, *_) in enumerate(LAYERS)],
)
def test_layers(name, args, options, shape):
    theirs = getattr(torch.nn, name)(*args, **options)
    ours = getattr(nn, name)(*args, **options)
    state = {k: v.detach().numpy() for k, v in theirs.state_dict().items()}
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in state.items()
    }
    ours.load_state_dict(state)
    x = drawn(*shape).astype(np.float32)
    mine, other = cr.asarray(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(mine), theirs(other)
    assert y.shape == tuple(z.shape)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), 2e-5, 2e-6)
    y.sum().backward()
    z.sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), 2e-5, 2e-6)
    for ours_p, theirs_p in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(ours_p.grad.numpy(), theirs_p.grad.numpy(), 1e-4, 1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_whole_channels_are_dropped(rank):
    cr.seed(0)
    x = cr.ones((40, 50, *SIZES[rank]))
    y = getattr(nn, f"Dropout{rank}d")(0.25)(x).numpy()
    flat = y.reshape(2000, -1)
    assert set(np.unique(flat)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (flat == flat[:, :1]).all()
    # The number kept is binomial: five of its standard deviations.
    assert abs((flat[:, 0] > 0).sum() - 1500) < 5 * np.sqrt(2000 * 0.25 * 0.75)
    assert np.array_equal(getattr(nn, f"Dropout{rank}d")(0.25).eval()(x), x)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("kind", ["AlphaDropout", "FeatureAlphaDropout"])
def test_alpha_dropout_keeps_mean_and_variance(p, kind):
    cr.seed(1)
    n = 400_000
    x = drawn(n, 1).astype(np.float32)
    y = getattr(nn, kind)(p)(x).numpy().astype(np.float64)
    assert abs(y.mean()) < 6 / np.sqrt(n)
    assert abs(y.var() - 1) < 0.02
    a = 1 / np.sqrt((1 - p) * (1 + p * 1.7580993408473766**2))
    low = a * 1.7580993408473766 * (p - 1)
    assert abs(np.isclose(y, low, rtol=1e-5).mean() - p) < 6 * np.sqrt(p * (1 - p) / n)


# Reading at places


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("outside", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [True, False])
def test_reading_at_places(rank, mode, outside, align):
    if rank == 3 and mode == "bicubic":
        return
    x, grid = drawn(2, 3, *SIZES[rank]), drawn(2, *(4, 3, 2)[:rank], rank, seed=1)
    s = {"mode": mode, "padding_mode": outside, "align_corners": align}
    places = (x, grid) if mode != "nearest" else (x,)
    agree(
        lambda x, *g: nn.grid_sample(x, *(g or [cr.asarray(grid)]), **s),
        lambda x, *g: F.grid_sample(x, *(g or [torch.tensor(grid)]), **s),
        places,
        rtol=1e-9,
    )
    far = np.full((2, *(1,) * rank, rank), 1e12)
    found = nn.grid_sample(x, far, **s).numpy()
    np.testing.assert_allclose(found, F.grid_sample(*map(torch.tensor, (x, far)), **s), 1e-4)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("align", [True, False])
def test_places_of_an_affine_map(rank, align):
    theta, size = drawn(2, rank, rank + 1), (2, 3, *(4, 2 if align else 1, 3)[:rank])
    agree(
        lambda t: nn.affine_grid(t, size, align),
        lambda t: F.affine_grid(t, list(size), align),
        (theta,),
    )
