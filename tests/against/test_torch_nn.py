"""Layers and models equal PyTorch's: names, shapes, values and gradients, in float64."""

import inspect

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn as tnn

import chainrule as cr
from chainrule import nn


def seeded(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def twins(build, example=None):
    """The same architecture twice, with PyTorch's weights, in float64."""
    torch.manual_seed(0)
    theirs = build(tnn).double()
    ours = build(nn).to(cr.float64)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def check(ours, theirs, *arrays, call=None, rtol=1e-12, atol=1e-12):
    """Equal results and gradients, of floating-point inputs and of all parameters."""
    call = call or (lambda model, *inputs: model(*inputs))
    given = [cr.asarray(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    wanted = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    ours.zero_grad()
    theirs.zero_grad()
    y, z = call(ours, *given), call(theirs, *wanted)
    np.testing.assert_allclose(y, z.detach(), rtol, atol)
    g = seeded(*y.shape, seed=9)
    y.backward(cr.asarray(g))
    z.backward(torch.tensor(g))
    for mine, its in zip(given, wanted, strict=True):
        if its.requires_grad:
            np.testing.assert_allclose(mine.grad, its.grad, rtol, atol)
    parameters = dict(theirs.named_parameters())
    assert [n for n, _ in ours.named_parameters()] == list(parameters)
    for name, parameter in ours.named_parameters():
        if parameters[name].grad is not None:
            np.testing.assert_allclose(parameter.grad, parameters[name].grad, rtol, atol)
    buffers = dict(theirs.named_buffers())
    assert [n for n, _ in ours.named_buffers()] == list(buffers)
    for name, buffer in ours.named_buffers():
        np.testing.assert_allclose(buffer, buffers[name], rtol, atol)


def mlp(lib):
    return lib.Sequential(lib.Linear(6, 8), lib.ReLU(), lib.Dropout(0.1), lib.Linear(8, 3))


def cnn(lib):
    return lib.Sequential(
        lib.Conv2d(1, 4, 3, padding=1),
        lib.BatchNorm2d(4),
        lib.ReLU(),
        lib.MaxPool2d(2),
        lib.Conv2d(4, 8, 3, padding=1, bias=False),
        lib.ReLU(),
        lib.AvgPool2d(2),
        lib.Flatten(),
        lib.Linear(8 * 2 * 2, 5),
    )


def nested(lib):
    return lib.Sequential(
        lib.ModuleDict({"a": lib.Linear(2, 3), "b": lib.Embedding(5, 3, padding_idx=1)}),
        lib.ModuleList([lib.LayerNorm(3), lib.BatchNorm1d(3), lib.BatchNorm1d(3, affine=False)]),
        lib.MultiheadAttention(4, 2),
        lib.MultiheadAttention(4, 2, bias=False),
        lib.LayerNorm((2, 3), bias=False),
        lib.LayerNorm(3, elementwise_affine=False),
        lib.BatchNorm2d(3, track_running_stats=False),
        lib.Linear(3, 1, bias=False),
    )


class Transformer:
    """A language model of one encoder layer, its output tied to its embedding."""

    def __new__(cls, lib):
        class Net(lib.Module):
            def __init__(self):
                super().__init__()
                self.embed = lib.Embedding(11, 8)
                self.layer = lib.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
                self.out = lib.Linear(8, 11, bias=False)
                self.out.weight = self.embed.weight

            def forward(self, x):
                return self.out(self.layer(self.embed(x)))

        return Net()


@pytest.mark.parametrize("build", [mlp, cnn, nested, Transformer])
def test_names_shapes_and_order(build):
    ours, theirs = build(nn), build(tnn)
    expected = {n: tuple(v.shape) for n, v in theirs.state_dict().items()}
    assert {n: v.shape for n, v in ours.state_dict().items()} == expected
    assert list(ours.state_dict()) == list(expected)
    dtypes = {n: str(v.dtype).removeprefix("torch.") for n, v in theirs.state_dict().items()}
    assert {n: v.dtype.name for n, v in ours.state_dict().items()} == dtypes
    for kind in ("parameters", "buffers", "modules", "children"):
        names = [n for n, _ in getattr(ours, f"named_{kind}")()]
        assert names == [n for n, _ in getattr(theirs, f"named_{kind}")()]


@pytest.mark.parametrize("build", [mlp, cnn, nested, Transformer])
def test_files_are_read_both_ways(build, tmp_path):
    ours, theirs = build(nn), build(tnn)
    state = {n: v.clone() for n, v in theirs.state_dict().items()}
    save_file(state, tmp_path / "theirs.safetensors")
    ours.load_state_dict(cr.load(tmp_path / "theirs.safetensors"))
    for name, value in ours.state_dict().items():
        assert np.array_equal(value, state[name])
    cr.save(ours, tmp_path / "ours.safetensors")
    build(tnn).load_state_dict(load_file(tmp_path / "ours.safetensors"))


def test_tensors_and_parameters_of_pytorch_are_loaded_directly():
    ours, theirs = mlp(nn), mlp(tnn)
    ours.load_state_dict(dict(theirs.named_parameters()))
    assert np.array_equal(ours[0].weight, theirs[0].weight.detach())
    with pytest.raises(cr.CheckpointError, match=r"value.cpu\(\).float\(\)"):
        ours.load_state_dict(mlp(tnn).bfloat16().state_dict())


OTHER_DEFAULTS = {
    ("Softmax", "dim"),  # None, with a warning, in PyTorch
    ("LogSoftmax", "dim"),
    ("Buffer", "data"),  # None, for one without a value
    ("Parameter", "data"),
    ("TransformerEncoderLayer", "activation"),  # the function called "relu"
    ("TransformerDecoderLayer", "activation"),
    ("Transformer", "activation"),
    ("Softmin", "dim"),
}


def test_constructor_arguments_have_pytorchs_names_and_defaults():
    extra = {"device", "dtype", "inplace"}
    for name in [n for n in dir(nn) if isinstance(getattr(nn, n), type) and hasattr(tnn, n)]:
        ours = inspect.signature(getattr(nn, name)).parameters
        theirs = inspect.signature(getattr(tnn, name)).parameters
        if name in ("RNN", "GRU", "LSTM"):  # *args, **kwargs in PyTorch: those of its base
            theirs = inspect.signature(tnn.RNNBase).parameters
            ours = {n: p for n, p in ours.items() if n != "nonlinearity"}
        for argument, parameter in ours.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            assert argument in theirs, f"nn.{name} has {argument}, which PyTorch has not"
            if (name, argument) in OTHER_DEFAULTS:
                continue
            assert parameter.default == theirs[argument].default, f"nn.{name} {argument}"
        shared = [a for a in theirs if a in ours and a not in extra]
        positional = [a for a in ours if a in theirs]
        assert positional == shared, f"nn.{name} has its arguments in another order"


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda lib: lib.Linear(3, 4), (5, 3)),
        (lambda lib: lib.Linear(3, 4, bias=False), (2, 5, 3)),
        (lambda lib: lib.Linear(3, 4), (3,)),
        (lambda lib: lib.Flatten(), (2, 3, 4)),
        (lambda lib: lib.Flatten(0, 1), (2, 3, 4)),
        (lambda lib: lib.Unflatten(1, (2, -1)), (3, 6)),
        (lambda lib: lib.LayerNorm(4), (2, 3, 4)),
        (lambda lib: lib.LayerNorm((3, 4), eps=0.1), (2, 3, 4)),
        (lambda lib: lib.LayerNorm(4, bias=False), (3, 4)),
        (lambda lib: lib.LayerNorm(4, elementwise_affine=False), (3, 4)),
        (lambda lib: lib.Conv2d(2, 3, 3), (2, 2, 6, 5)),
        (lambda lib: lib.Conv2d(2, 3, 3), (2, 6, 5)),
        (lambda lib: lib.Conv2d(4, 6, (3, 2), 2, (1, 0), groups=2, bias=False), (2, 4, 7, 6)),
        (lambda lib: lib.Conv2d(2, 3, 3, dilation=2, padding=2), (1, 2, 6, 7)),
        (lambda lib: lib.Conv2d(2, 3, 3, padding="same"), (1, 2, 6, 7)),
        (lambda lib: lib.Conv2d(2, 3, 3, padding="valid"), (1, 2, 6, 7)),
        (lambda lib: lib.MaxPool2d(2), (2, 3, 6, 5)),
        (lambda lib: lib.MaxPool2d(3, 2, 1), (2, 3, 6, 5)),
        (lambda lib: lib.MaxPool2d(2, ceil_mode=True), (2, 3, 7, 5)),
        (lambda lib: lib.MaxPool2d(2, dilation=2), (2, 3, 7, 5)),
        (lambda lib: lib.AvgPool2d(2), (2, 3, 6, 5)),
        (lambda lib: lib.AvgPool2d(3, 2, 1), (2, 3, 6, 5)),
        (lambda lib: lib.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 3, 6, 5)),
        (lambda lib: lib.AvgPool2d(2, ceil_mode=True), (2, 3, 7, 5)),
        (lambda lib: lib.AdaptiveAvgPool2d(1), (2, 3, 6, 5)),
        (lambda lib: lib.AdaptiveAvgPool2d((2, 3)), (2, 3, 7, 5)),
        (lambda lib: cnn(lib).eval(), (3, 1, 8, 8)),
        (cnn, (3, 1, 8, 8)),
        (lambda lib: mlp(lib).eval(), (3, 6)),
    ],
)
def test_layers(build, shape):
    check(*twins(build), seeded(*shape))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ReLU", {}),
        ("LeakyReLU", {}),
        ("LeakyReLU", {"negative_slope": 0.3}),
        ("ELU", {"alpha": 0.7}),
        ("SELU", {}),
        ("GELU", {}),
        ("GELU", {"approximate": "tanh"}),
        ("SiLU", {}),
        ("Mish", {}),
        ("Sigmoid", {}),
        ("LogSigmoid", {}),
        ("Tanh", {}),
        ("Softplus", {}),
        ("Softsign", {}),
        ("ReLU6", {}),
        ("Hardtanh", {"min_val": -0.5, "max_val": 2.0}),
        ("Hardsigmoid", {}),
        ("Hardswish", {}),
        ("Softmax", {"dim": 0}),
        ("Softmax", {"dim": -1}),
        ("LogSoftmax", {"dim": 1}),
    ],
)
def test_activations(name, options):
    # PyTorch's derivative of hardsigmoid is 0.1666666716 in float64, too: 1/6 in float32.
    rtol = 1e-7 if name == "Hardsigmoid" else 1e-12
    check(getattr(nn, name)(**options), getattr(tnn, name)(**options), 4 * seeded(5, 6), rtol=rtol)


@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_embedding(padding_idx):
    ours, theirs = twins(lambda lib: lib.Embedding(6, 3, padding_idx=padding_idx))
    assert ours.padding_idx == theirs.padding_idx
    check(ours, theirs, np.array([[0, 2, 2], [5, 1, 0]]))
    if padding_idx is not None:
        assert not nn.Embedding(6, 3, padding_idx=padding_idx).weight[padding_idx].any()


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda lib: lib.BatchNorm1d(3), (5, 3)),
        (lambda lib: lib.BatchNorm1d(3), (5, 3, 4)),
        (lambda lib: lib.BatchNorm2d(3), (4, 3, 2, 5)),
        (lambda lib: lib.BatchNorm2d(3, momentum=None), (4, 3, 2, 5)),
        (lambda lib: lib.BatchNorm2d(3, eps=0.1, momentum=0.5), (4, 3, 2, 5)),
        (lambda lib: lib.BatchNorm1d(3, affine=False), (5, 3)),
        (lambda lib: lib.BatchNorm1d(3, track_running_stats=False), (5, 3)),
    ],
)
def test_batch_norm_over_several_steps_and_in_use(build, shape):
    ours, theirs = twins(build)
    for seed in range(4):
        check(ours, theirs, 2 + seeded(*shape, seed=seed))
    check(ours.eval(), theirs.eval(), seeded(*shape, seed=7))
    check(ours.train(), theirs.train(), seeded(*shape, seed=8))


MASKS = {
    "none": {},
    "padding": {"key_padding_mask": np.array([[0, 0, 0, 1], [0, 1, 0, 1]], bool)},
    "bool": {"attn_mask": np.array([[0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]], bool)},
    "float": {"attn_mask": seeded(3, 4)},
    "each head": {"attn_mask": seeded(4, 3, 4)},
    "both": {
        "attn_mask": np.array([[0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]], bool),
        "key_padding_mask": np.array([[0, 0, 0, 1], [0, 1, 0, 0]], bool),
    },
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("options", [{}, {"average_attn_weights": False}, {"need_weights": False}])
def test_multihead_attention(mask, batch_first, options):
    ours, theirs = twins(lambda lib: lib.MultiheadAttention(6, 2, batch_first=batch_first))
    axes = (0, 1, 2) if batch_first else (1, 0, 2)
    q, k, v = (seeded(2, n, 6, seed=i).transpose(axes) for i, n in enumerate((3, 4, 4)))

    def call(model, q, k, v):
        tensor = torch.tensor if isinstance(model, tnn.Module) else cr.asarray
        masks = {name: tensor(m) for name, m in MASKS[mask].items()}
        y, weights = model(q, k, v, **masks, **options)
        if weights is None:
            return y
        parts = [y.reshape(-1), weights.reshape(-1)]
        return torch.cat(parts) if tensor is torch.tensor else cr.concat(parts)

    check(ours, theirs, q, k, v, call=call)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("shape", [(2, 4, 6), (4, 6)])
def test_causal_self_attention_with_and_without_a_batch(need_weights, shape):
    ours, theirs = twins(lambda lib: lib.MultiheadAttention(6, 3, batch_first=True))

    def call(model, x):
        if isinstance(model, nn.Module):
            return model(x, x, x, need_weights=need_weights, is_causal=True)[0]
        mask = tnn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)
        return model(x, x, x, need_weights=need_weights, attn_mask=mask, is_causal=True)[0]

    check(ours, theirs, seeded(*shape), call=call)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_transformer_encoder_layer(norm_first, activation):
    def build(lib):
        return lib.TransformerEncoderLayer(
            8, 2, 16, dropout=0.0, activation=activation, batch_first=True, norm_first=norm_first
        )

    check(*twins(build), seeded(2, 5, 8))


def test_a_tied_language_model():
    check(*twins(Transformer), np.array([[1, 2, 3], [3, 3, 10]]))
