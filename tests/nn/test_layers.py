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
    "Conv1d": [((2, 4, 3), {}), ((2, 4, 3, 1, "same"), {"padding_mode": "circular"})],
    "Conv3d": [((2, 4, 3), {}), ((2, 4, (3, 2, 1), 2, (1, 0, 2)), {"groups": 2, "bias": False})],
    "ConvTranspose1d": [((2, 4, 3), {})],
    "ConvTranspose2d": [((2, 4, 3), {}), ((2, 4, (3, 2), 2, 1, 1), {"groups": 2, "dilation": 3})],
    "ConvTranspose3d": [((2, 4, 3), {"bias": False})],
    "Dropout": [((), {}), ((0.25,), {})],
    "ConstantPad1d": [((1, 2.0), {})],
    "ConstantPad2d": [((1, 2.0), {})],
    "ConstantPad3d": [((1, 2.0), {})],
    "ZeroPad1d": [((1,), {}), (((0, 1),), {})],
    "ZeroPad2d": [((1,), {}), (((0, 1, 2, 3),), {})],
    "ZeroPad3d": [((1,), {}), (((0, 1, 2, 3, 4, 5),), {})],
    "ReflectionPad1d": [((1,), {}), (((0, 1),), {})],
    "ReflectionPad2d": [((1,), {}), (((0, 1, 2, 3),), {})],
    "ReflectionPad3d": [((1,), {}), (((0, 1, 2, 3, 4, 5),), {})],
    "ReplicationPad1d": [((1,), {}), (((0, 1),), {})],
    "ReplicationPad2d": [((1,), {}), (((0, 1, 2, 3),), {})],
    "ReplicationPad3d": [((1,), {}), (((0, 1, 2, 3, 4, 5),), {})],
    "CircularPad1d": [((1,), {}), (((0, 1),), {})],
    "CircularPad2d": [((1,), {}), (((0, 1, 2, 3),), {})],
    "CircularPad3d": [((1,), {}), (((0, 1, 2, 3, 4, 5),), {})],
    "MaxPool1d": [((2,), {}), ((2, 1, 1), {"return_indices": True})],
    "AvgPool1d": [((2,), {}), ((3, 2, 1), {"count_include_pad": False})],
    "AdaptiveAvgPool1d": [((2,), {})],
    "MaxPool3d": [((2,), {}), ((2, 1, 1), {"return_indices": True})],
    "AvgPool3d": [((2,), {}), ((3, 2, 1), {"count_include_pad": False})],
    "AdaptiveAvgPool3d": [((2,), {})],
    "MaxUnpool1d": [((2,), {}), ((3, 2, 1), {})],
    "LPPool1d": [((2, 2), {}), ((1.5, 3, 2, True), {})],
    "AdaptiveMaxPool1d": [((2,), {}), ((1, True), {})],
    "MaxUnpool2d": [((2,), {}), ((3, 2, 1), {})],
    "LPPool2d": [((2, 2), {}), ((1.5, 3, 2, True), {})],
    "AdaptiveMaxPool2d": [((2,), {}), ((1, True), {})],
    "MaxUnpool3d": [((2,), {}), ((3, 2, 1), {})],
    "LPPool3d": [((2, 2), {}), ((1.5, 3, 2, True), {})],
    "AdaptiveMaxPool3d": [((2,), {}), ((1, True), {})],
    "Upsample": [((4,), {}), ((), {"scale_factor": (2.0, 1.5), "mode": "bilinear"})],
    "Unfold": [((2,), {}), (((2, 3), 2, 1, 2), {})],
    "Fold": [(((4, 5), 2), {}), (((4, 5), (2, 3)), {"stride": 2})],
    "PixelShuffle": [((2,), {})],
    "PixelUnshuffle": [((2,), {})],
    "ChannelShuffle": [((2,), {})],
    "Dropout1d": [((), {}), ((0.25,), {})],
    "AlphaDropout": [((), {}), ((0.25,), {})],
    "Embedding": [((5, 3), {}), ((5, 3, -1), {})],
    "Flatten": [((), {}), ((0, 1), {})],
    "Identity": [((), {})],
    "LayerNorm": [((4,), {}), (((3, 4), 0.1), {"bias": False})],
    "Linear": [((3, 2), {}), ((3, 2, False), {})],
    "LogSoftmax": [((), {}), ((0,), {})],
    "MaxPool2d": [((2,), {}), (((2, 3), 1, 1), {"ceil_mode": True})],
    "MultiheadAttention": [
        ((4, 2), {}),
        ((4, 2, 0.1, False, True, True, 3), {"batch_first": True}),
    ],
    "Softmax": [((), {}), ((0,), {})],
    "Transformer": [((4, 2, 1, 2, 8), {}), ((4, 2, 1, 1, 8, 0.0), {"activation": nn.gelu})],
    "TransformerDecoder": [((nn.TransformerDecoderLayer(4, 2, 8), 2), {"norm": nn.LayerNorm(4)})],
    "TransformerDecoderLayer": [((4, 2, 8), {}), ((4, 2, 8, 0.0, "gelu"), {"bias": False})],
    "TransformerEncoder": [((nn.TransformerEncoderLayer(4, 2, 8), 2), {})],
    "TransformerEncoderLayer": [((4, 2, 8), {}), ((4, 2, 8, 0.0, "gelu"), {"bias": False})],
    "Unflatten": [((1, (2, -1)), {})],
    "LeakyReLU": [((), {}), ((0.3,), {})],
    "ELU": [((), {}), ((0.3,), {})],
    "GELU": [((), {}), (("tanh",), {})],
    "Hardtanh": [((), {}), ((-2.0, 0.5), {})],
    "CELU": [((), {}), ((0.3,), {})],
    "GLU": [((), {}), ((0,), {})],
    "Hardshrink": [((), {}), ((0.3,), {})],
    "PReLU": [((), {}), ((3, 0.1), {})],
    "RReLU": [((), {}), ((0.1, 0.2), {})],
    "Softmin": [((), {}), ((0,), {})],
    "Softplus": [((), {}), ((2.0, 1.0), {})],
    "Softshrink": [((), {}), ((0.3,), {})],
    "Threshold": [((0.5, -1.0), {})],
    "BatchNorm3d": [((3,), {}), ((3,), {"bias": False})],
    "GroupNorm": [((2, 4), {}), ((2, 4, 0.1), {"bias": False}), ((2, 4), {"affine": False})],
    "InstanceNorm1d": [((3,), {}), ((3, 0.1, 0.2, True, True), {"bias": False})],
    "InstanceNorm2d": [((3,), {"affine": True})],
    "InstanceNorm3d": [((3,), {"track_running_stats": True})],
    "LocalResponseNorm": [((3,), {}), ((2, 0.1, 0.5, 2.0), {})],
    "RMSNorm": [((4,), {}), (((3, 4), 0.1), {"elementwise_affine": False})],
    "GRU": [((3, 4), {}), ((3, 4, 2, False, True, 0.1, True), {})],
    "GRUCell": [((3, 4), {}), ((3, 4, False), {})],
    "LoRALinear": [((3, 2), {}), ((3, 2, False), {"r": 2, "lora_alpha": 1.0})],
    "PositionalEncoding": [((4,), {}), ((4, 0.1, True), {"base": 100.0})],
    "RotaryEmbedding": [((4,), {}), ((4, 100.0, True), {})],
    "EmbeddingBag": [((5, 3), {}), ((5, 3, "sum"), {"padding_idx": -1})],
    "AdaptiveLogSoftmaxWithLoss": [((8, 20, [4, 10]), {}), ((8, 20, [4]), {"head_bias": True})],
    "LSTM": [((3, 4), {}), ((3, 4, 2), {"proj_size": 2, "bidirectional": True})],
    "LSTMCell": [((3, 4), {}), ((3, 4, False), {})],
    "RNN": [((3, 4), {}), ((3, 4, 1, "relu"), {"bias": False})],
    "RNNCell": [((3, 4), {}), ((3, 4, True, "relu"), {})],
    "Bilinear": [((3, 4, 2), {}), ((3, 4, 2, False), {})],
    "CosineSimilarity": [((), {}), ((0, 0.1), {})],
    "PairwiseDistance": [((), {}), ((1.0, 0.1, True), {})],
    "CTCLoss": [((2,), {"zero_infinity": True})],
    "HingeEmbeddingLoss": [((2.0,), {"reduction": "sum"})],
    "KLDivLoss": [((), {"log_target": True, "reduction": "batchmean"})],
    "MultiMarginLoss": [((2, 0.5), {})],
    "TripletMarginLoss": [((2.0, 1.0), {"swap": True})],
    "CrossEntropyLoss": [((), {"ignore_index": 1, "label_smoothing": 0.1, "reduction": "sum"})],
    "NLLLoss": [((), {"reduction": "none"})],
    "BCEWithLogitsLoss": [((), {"reduction": "sum"})],
    "HuberLoss": [((), {"delta": 0.5})],
    "SmoothL1Loss": [((), {"beta": 0.5})],
    "GaussianNLLLoss": [((), {"full": True})],
    "PoissonNLLLoss": [((), {"log_input": False})],
}
_CLASSES, _SIGNS = {1: [0, 2, 1, 1]}, np.ones((4, 3))
OPERANDS = {  # of the layers of one function, where they are not any numbers
    "CrossEntropyLoss": _CLASSES,
    "FocalLoss": _CLASSES,
    "MultiMarginLoss": _CLASSES,
    "NLLLoss": _CLASSES,
    "MultiLabelMarginLoss": {1: np.zeros((4, 3), int)},
    "CosineEmbeddingLoss": {2: np.ones(4)},
    "DiceLoss": {0: np.ones((2, 3, 4)), 1: np.ones((2, 3, 4))},
    "HingeEmbeddingLoss": {1: _SIGNS},
    "MarginRankingLoss": {2: _SIGNS},
    "CTCLoss": {0: -np.ones((4, 1, 3)), 1: [[1, 0]], 2: [4], 3: [2]},
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
    given = [cr.asarray(rng.uniform(0.1, 1.0, (4, 3))) for _ in operands]
    for place, value in OPERANDS.get(kind.__name__, {}).items():
        given[place] = cr.asarray(value)
    for args, options in SAMPLES.get(kind.__name__, [((), {})]):
        layer = kind(*args, **options)
        expected = function(*given, **layer.configuration())
        assert np.array_equal(layer(*given), expected)
    with pytest.raises(cr.DTypeError, match=rf"{kind.__name__}.*inplace.*Write {kind.__name__}\("):
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


def test_softened_samples_have_the_categorical_law():
    cr.seed(0)
    logits = cr.broadcast_to(cr.asarray([0.0, 1.0, -1.0]), (20_000, 3))
    wanted = nn.softmax(cr.asarray([0.0, 1.0, -1.0])).numpy()
    for axis in (-1, 0):
        z = logits if axis == -1 else logits.T
        hard = nn.gumbel_softmax(z, 0.5, hard=True, axis=axis).numpy()
        hard = hard if axis == -1 else hard.T
        assert set(np.unique(hard.round(6))) == {0.0, 1.0}
        assert np.abs(hard.mean(0) - wanted).max() < 0.01  # three standard errors
        soft = nn.gumbel_softmax(z, 0.5, axis=axis)
        np.testing.assert_allclose(soft.sum(axis=axis), 1, rtol=1e-5)
    x = cr.asarray([0.5, 0.0, 1.0], requires_grad=True)
    (nn.gumbel_softmax(x, hard=True) * cr.asarray([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.numpy().any()
    with pytest.raises(cr.DTypeError, match="tau"):
        nn.gumbel_softmax(x, 0.0)
