"""Initialisers have the moments and bounds that their papers say."""

import math

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule import nn
from chainrule.nn import init

SHAPE = (200, 300)  # 60,000 draws: a standard error of 0.3 % in the standard deviation


def drawn(initialiser, *args, shape=SHAPE, **options):
    cr.seed(0)
    parameter = nn.Parameter(cr.zeros(shape))
    assert initialiser(parameter, *args, **options) is parameter
    return parameter.numpy().astype(np.float64)


def is_uniform(values, low, high):
    return stats.kstest(values.ravel(), stats.uniform(low, high - low).cdf).pvalue > 0.01


def is_normal(values, mean, std):
    return stats.kstest(values.ravel(), stats.norm(mean, std).cdf).pvalue > 0.01


def test_uniform_and_normal():
    assert is_uniform(drawn(init.uniform_, -2.0, 3.0), -2, 3)
    assert is_normal(drawn(init.normal_, 1.0, 0.5), 1.0, 0.5)
    assert not is_normal(drawn(init.normal_, 1.0, 0.5), 1.0, 0.51)


def test_constants():
    assert np.all(drawn(init.constant_, 1.5) == 1.5)
    assert np.all(drawn(init.ones_) == 1)
    assert np.all(drawn(init.zeros_) == 0)


def test_truncated_normal():
    values = drawn(init.trunc_normal_, 0.5, 2.0, -1.0, 3.0)
    law = stats.truncnorm((-1.0 - 0.5) / 2.0, (3.0 - 0.5) / 2.0, 0.5, 2.0)
    assert values.min() >= -1.0
    assert values.max() <= 3.0
    assert stats.kstest(values.ravel(), law.cdf).pvalue > 0.01


@pytest.mark.parametrize("shape", [(200, 300), (32, 20, 7, 9)])
def test_xavier(shape):
    kernel = math.prod(shape[2:])
    std = math.sqrt(2 / ((shape[0] + shape[1]) * kernel))
    bound = math.sqrt(6 / ((shape[0] + shape[1]) * kernel))
    assert is_uniform(drawn(init.xavier_uniform_, shape=shape), -bound, bound)
    assert is_uniform(drawn(init.xavier_uniform_, gain=3, shape=shape), -3 * bound, 3 * bound)
    assert is_normal(drawn(init.xavier_normal_, shape=shape), 0, std)


@pytest.mark.parametrize("shape", [(200, 300), (32, 20, 7, 9)])
def test_kaiming(shape):
    fan_in, fan_out = math.prod(shape[1:]), shape[0] * math.prod(shape[2:])
    for mode, fan in (("fan_in", fan_in), ("fan_out", fan_out)):
        std = math.sqrt(2 / fan)
        assert is_normal(drawn(init.kaiming_normal_, mode=mode, shape=shape), 0, std)
        bound = math.sqrt(6 / fan)
        assert is_uniform(drawn(init.kaiming_uniform_, mode=mode, shape=shape), -bound, bound)
    values = drawn(init.kaiming_normal_, nonlinearity="tanh", shape=shape)
    assert is_normal(values, 0, 5 / 3 / math.sqrt(fan_in))


@pytest.mark.parametrize("shape", [(200, 300), (300, 200), (30, 4, 3, 3), (6, 8, 3, 3)])
def test_orthogonal(shape):
    matrix = drawn(init.orthogonal_, 2.0, shape=shape).reshape(shape[0], -1)
    small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    assert np.allclose(small, 4 * np.eye(len(small)), atol=1e-5)


def test_orthogonal_matrices_are_drawn_evenly():
    cr.seed(0)
    matrices = [init.orthogonal_(nn.Parameter(cr.zeros((2, 2)))).numpy() for _ in range(400)]
    angles = [math.atan2(m[1, 0], m[0, 0]) for m in matrices]
    assert stats.kstest(angles, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 0.01
    turns = sum(np.linalg.det(m) > 0 for m in matrices)
    assert stats.binomtest(turns, 400).pvalue > 0.01


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("relu", cr.relu),
        ("leaky_relu", cr.leaky_relu),
        ("gelu", cr.gelu),
        ("silu", cr.silu),
        ("selu", cr.selu),
        ("tanh", cr.tanh),
        ("linear", lambda x: x),
    ],
)
def test_by_activation_keeps_a_signal_alive_through_many_layers(activation, function):
    cr.seed(0)
    layers = [nn.Linear(256, 256, bias=False) for _ in range(10)]
    for layer in layers:
        init.by_activation_(layer.weight, activation)
    x = cr.asarray(np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32))
    with cr.no_grad():
        for layer in layers:
            x = function(layer(x))
    size = float(np.sqrt(np.mean(np.square(x.numpy()))))
    assert 0.02 < size < 10


def test_defaults_of_the_layers_are_those_of_pytorch():
    cr.seed(0)
    layer = nn.Linear(400, 300)
    assert is_uniform(layer.weight.numpy(), -1 / 20, 1 / 20)
    assert is_uniform(layer.bias.numpy(), -1 / 20, 1 / 20)


def test_the_seed_decides():
    first, second = (drawn(init.normal_) for _ in range(2))
    assert np.array_equal(first, second)
    cr.seed(1)
    assert not np.array_equal(init.normal_(nn.Parameter(cr.zeros(SHAPE))), first)


def test_a_generator_of_ones_own():
    cr.seed(0)
    values = [
        init.normal_(nn.Parameter(cr.zeros(3)), generator=cr.Generator(7)).tolist()
        for _ in range(2)
    ]
    assert values[0] == values[1]
    expected = drawn(init.normal_, shape=(3,))
    cr.seed(0)
    init.normal_(nn.Parameter(cr.zeros(3)), generator=cr.Generator(7))
    assert np.array_equal(init.normal_(nn.Parameter(cr.zeros(3))), expected)


def test_gains():
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("leaky_relu", 0.2) == pytest.approx(math.sqrt(2 / 1.04))
    with pytest.raises(cr.DTypeError, match="there is no gain for 'rulu'"):
        init.calculate_gain("rulu")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: init.xavier_uniform_(nn.Parameter(cr.zeros(3))), r"weight \(out, in, …\)"),
        (lambda: init.orthogonal_(nn.Parameter(cr.zeros(3))), "init.zeros_"),
        (lambda: init.normal_(cr.zeros((2, 2))), "writes into a parameter"),
        (lambda: init.kaiming_normal_(nn.Linear(1, 1).weight, mode="in"), "fan_in"),
        (lambda: init.by_activation_(nn.Linear(1, 1).weight, "x"), "there is no gain"),
    ],
)
def test_what_cannot_be_initialised_is_told(wrong, told):
    with pytest.raises(cr.ChainruleError, match=told):
        wrong()
