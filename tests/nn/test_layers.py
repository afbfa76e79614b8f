"""Every layer: what it computes without PyTorch at hand, how it is shown, saved and refused."""

import inspect

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.layers.layer import FunctionLayer, Layer

SAMPLES = {
    "AdaptiveAvgPool2d": [((2,), {}), (((1, 3),), {})],
    "AvgPool2d": [((2,), {}), ((3, 2, 1), {"count_include_pad": False})],
    "BatchNorm1d": [((3,), {}), ((3,), {"momentum": None, "affine": False})],
    "BatchNorm2d": [((3, 0.1), {}), ((3,), {"track_running_stats": False})],
    "Conv2d": [((2, 4, 3), {}), ((2, 4, (3, 2), 2, (1, 0)), {"groups": 2, "bias": False})],
    "Dropout": [((), {}), ((0.25,), {})],
    "Embedding": [((5, 3), {}), ((5, 3, -1), {})],
    "Flatten": [((), {}), ((0, 1), {})],
    "Identity": [((), {})],
    "LayerNorm": [((4,), {}), (((3, 4), 0.1), {"bias": False})],
    "Linear": [((3, 2), {}), ((3, 2, False), {})],
    "LogSoftmax": [((), {}), ((0,), {})],
    "MaxPool2d": [((2,), {}), (((2, 3), 1, 1), {"ceil_mode": True})],
    "MultiheadAttention": [((4, 2), {}), ((4, 2, 0.1, False, True), {})],
    "Softmax": [((), {}), ((0,), {})],
    "TransformerEncoderLayer": [((4, 2, 8), {}), ((4, 2, 8, 0.0, "gelu"), {"bias": False})],
    "Unflatten": [((1, (2, -1)), {})],
    "LeakyReLU": [((), {}), ((0.3,), {})],
    "ELU": [((), {}), ((0.3,), {})],
    "GELU": [((), {}), (("tanh",), {})],
    "Hardtanh": [((), {}), ((-2.0, 0.5), {})],
    "CrossEntropyLoss": [((), {"ignore_index": 1, "label_smoothing": 0.1, "reduction": "sum"})],
    "NLLLoss": [((), {"reduction": "none"})],
    "BCEWithLogitsLoss": [((), {"reduction": "sum"})],
    "HuberLoss": [((), {"delta": 0.5})],
    "SmoothL1Loss": [((), {"beta": 0.5})],
    "GaussianNLLLoss": [((), {"full": True})],
    "PoissonNLLLoss": [((), {"log_input": False})],
}
LAYERS = [v for v in vars(nn).values() if isinstance(v, type) and issubclass(v, Layer)]
CASES = [
    pytest.param(kind, *sample, id=f"{kind.__name__}-{i}")
    for kind in LAYERS
    for i, sample in enumerate(SAMPLES.get(kind.__name__, [((), {})]))
]


@pytest.mark.parametrize(("kind", "args", "options"), CASES)
def test_a_layer_is_made_again_from_its_repr_and_from_a_file(kind, args, options, tmp_path):
    layer = kind(*args, **options)
    if "\n" not in repr(layer):
        again = eval(repr(layer), vars(nn).copy())
        assert type(again) is kind
        assert again.configuration() == layer.configuration()
    nn.save(layer, tmp_path / "m")
    loaded = nn.load(tmp_path / "m")
    assert type(loaded) is kind
    assert repr(loaded) == repr(layer)
    for name, value in layer.state_dict().items():
        assert np.array_equal(loaded.state_dict()[name], value)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_tells_about_itself(kind):
    assert kind.__doc__
    assert len(kind.__doc__) > 10


@pytest.mark.parametrize("kind", [k for k in LAYERS if issubclass(k, FunctionLayer)])
def test_a_layer_of_one_function_has_its_arguments_and_values(kind):
    function = kind.function
    parameters = inspect.signature(function).parameters.values()
    operands = [p for p in parameters if p.default is p.empty]
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    assert kind().configuration() == defaults
    rng = np.random.default_rng(0)
    given = [cr.asarray(rng.uniform(0.1, 2.0, (4, 3))) for _ in operands]
    if "Entropy" in kind.__name__ or kind.__name__ == "NLLLoss":
        given[1] = cr.asarray([0, 2, 1, 1])
    for args, options in SAMPLES.get(kind.__name__, [((), {})]):
        layer = kind(*args, **options)
        expected = function(*given, **layer.configuration())
        assert np.array_equal(layer(*given), expected)
    with pytest.raises(cr.DTypeError, match=rf"{kind.__name__}.*inplace.*write {kind.__name__}\("):
        kind(inplace=True)


def test_linear_is_a_product_and_a_sum():
    layer = nn.Linear(3, 2)
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    expected = x @ layer.weight.numpy().T + layer.bias.numpy()
    assert np.allclose(layer(x), expected, rtol=1e-6)
    assert layer(x[0].tolist()).shape == (2,)


def test_floating_input_is_cast_to_the_parameters():
    layer = nn.Linear(2, 1)
    x = cr.asarray(np.ones((3, 2)), requires_grad=True)
    y = layer(x)
    assert x.dtype == cr.float64
    assert y.dtype == cr.float32
    y.sum().backward()
    assert x.grad.dtype == cr.float64
    assert layer(cr.ones((3, 2)).astype(cr.float16)).dtype == cr.float32


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.complex64])
def test_input_that_is_not_real_floating_is_refused(dtype):
    layer = nn.Linear(2, 1)
    with pytest.raises(
        cr.DTypeError, match=r"`linear` in `Linear` \(test_layers.py:\d+\)"
    ) as error:
        layer(np.ones((3, 2), dtype))
    assert "astype(weight.dtype)" in str(error.value)
    assert np.dtype(dtype).name in str(error.value)


def test_a_wrong_width_tells_how_to_flatten():
    with pytest.raises(cr.ShapeError, match=r"nn.Flatten\(\)"):
        nn.Linear(12, 1)(cr.ones((2, 3, 4)))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: nn.Linear(0, 1), "in_features is a whole number of at least 1, not 0"),
        (lambda: nn.Linear(2, 1.5), "out_features is a whole number"),
        (lambda: nn.Linear(True, 1), "in_features is a whole number"),
        (lambda: nn.Dropout(1.5), "p is a probability"),
        (lambda: nn.Dropout("0.5"), "p is a probability"),
    ],
)
def test_wrong_arguments_are_told(wrong, told):
    with pytest.raises(cr.DTypeError, match=told):
        wrong()


def test_flatten_and_unflatten_undo_each_other():
    x = cr.reshape(cr.arange(24.0), (2, 3, 4))
    flat = nn.Flatten()(x)
    assert flat.shape == (2, 12)
    assert np.array_equal(nn.Unflatten(1, (3, -1))(flat), x)
    with pytest.raises(cr.ShapeError):
        nn.Unflatten(1, (5, -1))(flat)


def test_dropout_drops_in_training_alone_and_keeps_the_mean():
    layer, x = nn.Dropout(0.25), cr.ones((200, 200))
    cr.seed(0)
    y = layer(x).numpy()
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.01
    cr.seed(0)
    assert np.array_equal(layer(x), y)
    assert not np.array_equal(layer(x), y)
    assert np.array_equal(layer.eval()(x), x)
