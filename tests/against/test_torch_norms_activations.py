"""Normalisations and activations equal PyTorch's: values, gradients, statistics, in float64."""

import numpy as np
import pytest
import torch
from torch import nn as tnn
from torch.nn import functional as F

import chainrule as cr
from chainrule import nn
from tests.against.test_torch_nn import check, seeded, twins


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CELU", {}),
        ("CELU", {"alpha": 0.25}),  # PyTorch divides by α in float32
        ("GLU", {}),
        ("GLU", {"dim": 0}),
        ("Hardshrink", {}),
        ("Hardshrink", {"lambd": 1.5}),
        ("Softshrink", {}),
        ("Softshrink", {"lambd": 1.5}),
        ("Tanhshrink", {}),
        ("Threshold", {"threshold": 0.3, "value": -2.0}),
        ("Softplus", {"beta": 2.0}),
        ("Softplus", {"beta": 0.5, "threshold": 1.0}),
        ("Softmin", {"dim": 0}),
        ("Softmin", {"dim": -1}),
        ("PReLU", {}),
        ("PReLU", {"num_parameters": 6, "init": 0.1}),
    ],
)
def test_activations(name, options):
    check(*twins(lambda lib: getattr(lib, name)(**options)), 4 * seeded(4, 6))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 4, 5)])
def test_softmax_over_channels(shape):
    check(nn.Softmax2d(), tnn.Softmax2d(), seeded(*shape))


def test_random_slopes_are_their_mean_in_use_and_within_bounds_in_training():
    check(nn.RReLU(0.1, 0.4).eval(), tnn.RReLU(0.1, 0.4).eval(), seeded(5, 6))
    cr.seed(0)
    x = cr.asarray(-np.ones((100, 100)), requires_grad=True)
    y = nn.RReLU(0.1, 0.4)(x)
    y.sum().backward()
    slopes = -y.numpy()
    assert slopes.min() >= 0.1
    assert slopes.max() <= 0.4
    assert abs(slopes.mean() - 0.25) < 0.005
    np.testing.assert_array_equal(x.grad, slopes)


KINKS = np.array([-np.inf, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 3.0, 6.0, 100.0, np.inf, np.nan])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (nn.celu, F.celu),
        (nn.hardshrink, F.hardshrink),
        (nn.softshrink, F.softshrink),
        (nn.tanhshrink, F.tanhshrink),
        (nn.softplus, F.softplus),
        (lambda x: nn.threshold(x, 0.5, 2.0), lambda x: F.threshold(x, 0.5, 2.0)),
        (lambda x: nn.prelu(x, [0.25]), lambda x: F.prelu(x, torch.tensor([0.25]).to(x))),
        (nn.rrelu, F.rrelu),
    ],
)
def test_at_kinks_infinities_and_not_a_number(ours, theirs):
    x = cr.asarray(KINKS.astype(np.float32), requires_grad=True)
    z = torch.tensor(KINKS.astype(np.float32), requires_grad=True)
    y, wanted = ours(x), theirs(z)
    np.testing.assert_allclose(y, wanted.detach(), rtol=1e-6)
    finite = np.isfinite(KINKS)
    y.sum().backward()
    wanted.sum().backward()
    np.testing.assert_allclose(x.grad.numpy()[finite], z.grad.numpy()[finite], rtol=1e-5)


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda lib: lib.GroupNorm(2, 6), (3, 6)),
        (lambda lib: lib.GroupNorm(3, 6), (2, 6, 4, 5)),
        (lambda lib: lib.GroupNorm(1, 6, eps=0.1), (2, 6, 4)),
        (lambda lib: lib.GroupNorm(6, 6, affine=False), (2, 6, 4)),
        (lambda lib: lib.GroupNorm(2, 6, bias=False), (2, 6, 4)),
        (lambda lib: lib.RMSNorm(4), (2, 3, 4)),
        (lambda lib: lib.RMSNorm((3, 4), eps=0.1), (2, 3, 4)),
        (lambda lib: lib.RMSNorm(4, elementwise_affine=False), (3, 4)),
        (lambda lib: lib.LocalResponseNorm(2), (2, 5, 4)),
        (lambda lib: lib.LocalResponseNorm(3, 0.4, 0.6, 2.0), (2, 5, 4, 3)),
        (lambda lib: lib.LocalResponseNorm(5, 0.4), (2, 3, 4, 3, 2)),
    ],
)
def test_normalisations(build, shape):
    ours, theirs = twins(build)
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    theirs.load_state_dict({n: torch.tensor(v) for n, v in ours.state_dict().items()})
    check(ours, theirs, seeded(*shape))


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda lib: lib.BatchNorm3d(3), (2, 3, 2, 4, 3)),
        (lambda lib: lib.BatchNorm2d(3, bias=False), (2, 3, 2, 4)),
        (lambda lib: lib.InstanceNorm1d(3), (4, 3, 5)),
        (lambda lib: lib.InstanceNorm1d(3, affine=True), (3, 5)),
        (lambda lib: lib.InstanceNorm2d(3, 0.1, 0.3, True, True), (2, 3, 4, 5)),
        (lambda lib: lib.InstanceNorm2d(3, track_running_stats=True), (3, 4, 5)),
        (lambda lib: lib.InstanceNorm3d(2, affine=True), (2, 2, 3, 4, 2)),
    ],
)
def test_statistics_over_several_steps_and_in_use(build, shape):
    ours, theirs = twins(build)
    for seed in range(3):
        check(ours, theirs, 2 + seeded(*shape, seed=seed))
    check(ours.eval(), theirs.eval(), seeded(*shape, seed=7))
    check(ours.train(), theirs.train(), seeded(*shape, seed=8))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: nn.rms_norm(x, 64), lambda x: F.rms_norm(x, (64,))),
        (lambda x: nn.layer_norm(x, 64), lambda x: F.layer_norm(x, (64,))),
        (lambda x: nn.group_norm(x, 8), lambda x: F.group_norm(x, 8)),
    ],
)
def test_squares_of_half_precision_do_not_overflow(dtype, ours, theirs):
    x = (1000 * seeded(4, 64)).astype(np.float32)
    y = ours(cr.asarray(x).astype(dtype))
    z = theirs(torch.tensor(x).to(getattr(torch, dtype))).float()
    assert y.dtype.name == dtype
    np.testing.assert_allclose(y.astype(cr.float32), z, rtol=1e-2, atol=1e-3)
