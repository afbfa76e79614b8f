"""Transformers compiled, with and without dropout; rotary attention; what is refused."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim


def seeded(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


class Translator(nn.Module):
    """Letters to letters: embeddings with positions, an encoder and a decoder, a tied output."""

    def __init__(self, dropout):
        self.embed = nn.Embedding(11, 8)
        self.places = nn.PositionalEncoding(8, dropout, batch_first=True)
        self.model = nn.Transformer(8, 2, 1, 1, 16, dropout, "gelu", batch_first=True)
        self.out = nn.Linear(8, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x, y, padding):
        x, y = (self.places(self.embed(z)) for z in (x, y))
        masks = {"src_key_padding_mask": padding, "memory_key_padding_mask": padding}
        return self.out(self.model(x, y, tgt_is_causal=True, **masks))


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_training_step_compiles_and_agrees_with_eager(dropout):
    def trained(compiled):
        cr.seed(0)
        model = Translator(dropout).to(cr.float64)
        opt = optim.AdamW(model.parameters(), lr=0.01)

        def step(x, y, padding):
            logits = model(x, y[:, :-1], padding)
            loss = nn.cross_entropy(logits.permute(0, 2, 1), y[:, 1:])
            loss.backward()
            opt.step()
            return loss

        step = cr.compile(step) if compiled else step
        rng = np.random.default_rng(1)
        losses = []
        for _ in range(4):
            x, y = rng.integers(0, 11, (3, 6)), rng.integers(0, 11, (3, 5))
            padding = np.arange(6) >= rng.integers(3, 7, (3, 1))
            losses.append(step(*map(cr.asarray, (x, y, padding))).item())
        return losses, model.state_dict()

    (mine, state), (wanted, other) = trained(True), trained(False)
    np.testing.assert_allclose(mine, wanted, rtol=1e-9)
    for name, value in state.items():
        np.testing.assert_allclose(value, other[name], rtol=1e-6, atol=1e-8)


def test_what_is_padding_changes_nothing():
    model = Translator(0.0).eval()
    x, y = np.array([[1, 2, 3, 4]]), np.array([[5, 6]])
    padding = np.array([[False, False, True, True]])
    a = model(x, y, padding)
    b = model(np.array([[1, 2, 9, 0]]), y, padding)
    np.testing.assert_allclose(a, b, rtol=1e-5)
    assert not np.allclose(a, model(np.array([[1, 7, 3, 4]]), y, padding))


def test_later_places_change_nothing():
    model = Translator(0.0).eval()
    x, padding = np.array([[1, 2]]), np.zeros((1, 2), bool)
    a, b = (model(x, np.array([[5, 6, last]]), padding) for last in (7, 8))
    np.testing.assert_allclose(a[:, :2], b[:, :2], rtol=1e-5)
    assert not np.allclose(a[:, 2], b[:, 2])


def test_an_activation_of_ones_own_works_and_is_not_saved(tmp_path):
    layer = nn.TransformerEncoderLayer(4, 2, 8, activation=lambda x: cr.maximum(x, 0.0))
    same = nn.TransformerEncoderLayer(4, 2, 8)
    same.load_state_dict(layer.state_dict())
    x = cr.asarray(seeded(3, 2, 4))
    np.testing.assert_allclose(layer.eval()(x), same.eval()(x), rtol=1e-6)
    assert nn.TransformerEncoderLayer(4, 2, 8, activation=nn.gelu).activation == "gelu"
    with pytest.raises(cr.CheckpointError, match="activation= a function"):
        nn.save(layer, tmp_path / "m")


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: nn.TransformerEncoderLayer(4, 2, activation="swish"), cr.DTypeError, "silu"),
        (lambda: nn.TransformerEncoderLayer(4, 3), cr.ShapeError, "num_heads 3"),
        (lambda: nn.TransformerEncoder(nn.ReLU, 2), cr.DTypeError, r"ReLU\("),
        (lambda: nn.TransformerEncoder(nn.ReLU(), 0), cr.DTypeError, "num_layers"),
        (
            lambda: nn.TransformerEncoderLayer(4, 2)(cr.ones((3, 2, 5))),
            cr.ShapeError,
            "last sizes 4, 4, 4",
        ),
        (
            lambda: nn.TransformerDecoderLayer(4, 2)(cr.ones((3, 2, 4)), cr.ones((3, 1, 4))),
            cr.ShapeError,
            "same batch",
        ),
        (
            lambda: nn.TransformerEncoderLayer(4, 2)(cr.ones((3, 2, 4)), cr.ones((2, 2))),
            cr.ShapeError,
            r"attn_mask .*\(2, 2\).*\(3, 3\)",
        ),
        (lambda: nn.MultiheadAttention(4, 2, kdim=0), cr.DTypeError, "kdim"),
        (
            lambda: nn.MultiheadAttention(4, 2, kdim=3)(*[cr.ones((2, 1, 4))] * 3),
            cr.ShapeError,
            "last sizes 4, 3, 4",
        ),
        (lambda: nn.RotaryEmbedding(5), cr.ShapeError, "even"),
        (lambda: nn.RotaryEmbedding(4)(cr.ones((2, 6))), cr.ShapeError, r"\(…, length, 4\)"),
        (lambda: nn.rotary_embedding(cr.ones((2, 4)), cr.ones(3)), cr.ShapeError, r"\(3,\)"),
        (lambda: nn.PositionalEncoding(4)(cr.ones((2, 5))), cr.ShapeError, "length, batch, 4"),
        (lambda: nn.sinusoidal_positions(-1, 4), cr.ShapeError, "-1"),
        (lambda: nn.sinusoidal_positions(3, 4, base=0), cr.DTypeError, "base"),
    ],
)
def test_misuse(call, error, says):
    with pytest.raises(error, match=says):
        call()
