"""Attention and transformers equal PyTorch's: values and gradients, in float64."""

import numpy as np
import pytest
import torch
from torch import nn as tnn

import chainrule as cr
from chainrule import nn
from tests.against.test_torch_nn import check, seeded, twins

SHARED = {"dropout": 0.0, "batch_first": True}
PADDING = np.array([[0, 0, 0, 0, 1], [0, 0, 0, 1, 1]], bool)
MEMORY = np.array([[0, 0, 0, 1], [0, 0, 0, 0]], bool)
CAUSAL = np.triu(np.ones((5, 5), bool), 1)


def redrawn(ours, theirs):
    """The same random weights in both, biases and normalisations too."""
    cr.seed(0)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.4)
    theirs.load_state_dict({n: torch.tensor(v) for n, v in ours.state_dict().items()})
    return ours, theirs


def of(model):
    return torch.tensor if isinstance(model, tnn.Module) else cr.asarray


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"kdim": 3, "vdim": 5},
        {"kdim": 3, "bias": False},
        {"add_bias_kv": True},
        {"add_zero_attn": True},
        {"add_bias_kv": True, "add_zero_attn": True, "kdim": 3, "vdim": 5},
    ],
)
def test_attention_with_other_sizes_and_further_keys(options, need_weights, mask):
    ours, theirs = redrawn(*twins(lambda lib: lib.MultiheadAttention(6, 2, **options)))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    q = seeded(3, 2, 6)
    k, v = (
        seeded(4, 2, options.get("kdim", 6), seed=1),
        seeded(4, 2, options.get("vdim", 6), seed=2),
    )

    def call(model, *inputs):
        tensor = of(model)
        masks = {"key_padding_mask": tensor(MEMORY), "attn_mask": tensor(CAUSAL[:3, :4])}
        y, weights = model(*inputs, need_weights=need_weights, **(masks if mask else {}))
        if weights is None:
            return y
        parts = [y.reshape(-1), weights.reshape(-1)]
        return torch.cat(parts) if tensor is torch.tensor else cr.concat(parts)

    check(ours, theirs, q, k, v, call=call)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("options", [{}, {"bias": False, "activation": "gelu"}])
def test_decoder_layer(norm_first, options):
    def build(lib):
        return lib.TransformerDecoderLayer(8, 2, 16, norm_first=norm_first, **SHARED, **options)

    def call(model, x, memory):
        tensor = of(model)
        return model(
            x, memory, tgt_mask=tensor(CAUSAL), tgt_key_padding_mask=tensor(PADDING),
            memory_key_padding_mask=tensor(MEMORY),
        )  # fmt: skip

    ours, theirs = redrawn(*twins(build))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    check(ours, theirs, seeded(2, 5, 8), seeded(2, 4, 8, seed=1))
    check(ours, theirs, seeded(2, 5, 8), seeded(2, 4, 8, seed=1), call=call)
    check(ours.eval(), theirs.eval(), seeded(2, 5, 8), seeded(2, 4, 8, seed=1))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_encoder(norm, batch_first):
    def build(lib):
        layer = lib.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=batch_first)
        more = {"enable_nested_tensor": False} if lib is tnn else {}
        return lib.TransformerEncoder(layer, 2, lib.LayerNorm(8) if norm else None, **more)

    def call(model, x):
        tensor = of(model)
        return model(x, mask=tensor(CAUSAL), src_key_padding_mask=tensor(PADDING))

    ours, theirs = redrawn(*twins(build))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = seeded(2, 5, 8) if batch_first else seeded(5, 2, 8)
    check(ours, theirs, x)
    check(ours, theirs, x, call=call)


# PyTorch turns nested tensors on by itself, and says that it cannot where norm_first is set.
@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
@pytest.mark.parametrize("options", [{}, {"norm_first": True, "activation": "gelu"}])
def test_a_whole_transformer(options):
    def build(lib):
        return lib.Transformer(8, 2, 2, 1, 16, **SHARED, **options)

    def call(model, src, tgt):
        tensor = of(model)
        return model(src, tgt, tgt_mask=tensor(CAUSAL), src_key_padding_mask=tensor(MEMORY),
                     memory_key_padding_mask=tensor(MEMORY))  # fmt: skip

    def causal(model, src, tgt):
        if isinstance(model, nn.Module):
            return model(src, tgt, tgt_is_causal=True)
        mask = model.generate_square_subsequent_mask(5, dtype=torch.float64)
        return model(src, tgt, tgt_mask=mask, tgt_is_causal=True)

    ours, theirs = redrawn(*twins(build))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    arrays = seeded(2, 4, 8), seeded(2, 5, 8, seed=1)
    check(ours, theirs, *arrays, call=call)
    check(ours, theirs, *arrays, call=causal)


def test_the_mask_of_what_is_later():
    ours = nn.Transformer.generate_square_subsequent_mask(4)
    np.testing.assert_array_equal(ours, tnn.Transformer.generate_square_subsequent_mask(4))


def test_layers_of_a_stack_begin_alike_and_are_trained_apart():
    ours = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 2)
    first, second = ours.layers
    np.testing.assert_array_equal(first.linear1.weight, second.linear1.weight)
    first.linear1.weight.assign(cr.zeros((8, 4)))
    assert second.linear1.weight.numpy().any()
