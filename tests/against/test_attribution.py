"""Attribution of PyTorch networks equals captum's, and what captum has not PyTorch's own autograd;
and a network of chainrule's with the same weights gives the same amounts."""

import numpy as np
import pytest
import torch
from captum.attr import (
    FeatureAblation,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    ShapleyValues,
)

import chainrule as cr
from chainrule import attribute, influence, nn, partial_dependence, permutation_importance
from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.lens.interpret.attribution import patches
from chainrule.lens.interpret.subjects import subject_of

rng = np.random.default_rng(0)
X = rng.normal(size=(6, 5))
B = rng.normal(size=(1, 5))
IMAGES = rng.normal(size=(3, 2, 8, 8)).astype(np.float32)


def table(seed=0):
    torch.manual_seed(seed)
    layers = torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)
    return torch.nn.Sequential(*layers).double()


def ours(module):
    """The same network of chainrule's."""
    mine = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3)).to(np.float64)
    mine.load_state_dict(module.state_dict())
    return mine


def pictures():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(4, 6, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(6 * 4 * 4, 3),
    )  # fmt: skip


def captum(method, module, x, **options):
    rows = torch.tensor(x, requires_grad=True)
    return method(module).attribute(rows, target=2, **options).detach().numpy()


def test_gradient_x_input():
    found = attribute(table(), X, target=2, method="gradient-x-input")
    np.testing.assert_allclose(found.values, captum(InputXGradient, table(), X), atol=1e-12)


def test_integrated_gradients():
    start = torch.tensor(B)
    found = attribute(table(), X, target=2, baseline=B, steps=50)
    expected = captum(IntegratedGradients, table(), X, baselines=start, n_steps=50)
    np.testing.assert_allclose(found.values, expected, atol=1e-12)


def test_occlusion():
    groups = [[0, 1], [2], [3, 4]]
    mask = torch.tensor([[0, 0, 1, 2, 2]])
    found = attribute(table(), X, target=2, baseline=B, method="occlusion", groups=groups)
    expected = captum(FeatureAblation, table(), X, baselines=torch.tensor(B), feature_mask=mask)
    np.testing.assert_allclose(found.amounts, expected[:, [0, 2, 3]], atol=1e-12)


def test_occlusion_of_patches():
    squares = patches((2, 8, 8), 4)
    mask = np.empty(128, int)
    for g, places in enumerate(squares):
        mask[places] = g
    found = attribute(pictures(), IMAGES, target=2, method="occlusion", groups=squares)
    mask = torch.tensor(mask.reshape(1, 2, 8, 8))
    expected = captum(FeatureAblation, pictures(), IMAGES, feature_mask=mask)
    np.testing.assert_allclose(found.amounts, expected[:, 0, ::4, ::4].reshape(3, 4), atol=1e-5)


def test_shapley_values():
    found = attribute(table(), X[:2], target=2, baseline=B, method="shapley")
    expected = captum(ShapleyValues, table(), X[:2], baselines=torch.tensor(B))
    np.testing.assert_allclose(found.values, expected, atol=1e-6)  # captum adds up in float32


def test_grad_cam():
    module = pictures()
    found = attribute(module, IMAGES, target=2, method="grad-cam")
    coarse = LayerGradCam(module, module[3]).attribute(
        torch.tensor(IMAGES), target=2, relu_attributions=True
    )
    large = torch.nn.functional.interpolate(coarse, (8, 8), mode="bilinear")
    expected = large.detach().numpy().repeat(2, 1) / 2
    np.testing.assert_allclose(found.values, expected, atol=1e-6)


METHODS = ["gradient-x-input", "integrated-gradients", "smoothgrad", "occlusion", "shapley"]


@pytest.mark.parametrize("method", METHODS)
def test_the_two_frameworks_agree(method):
    theirs = attribute(table(), X, method=method, baseline=B)
    mine = attribute(ours(table()), X, method=method, baseline=B)
    np.testing.assert_allclose(theirs.values, mine.values, atol=1e-12)
    assert theirs.sanity.correlation == pytest.approx(mine.sanity.correlation)


class Encoder(torch.nn.Module):
    """Tokens through PyTorch's encoder layers, pooled."""

    def __init__(self, layers=2):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(9, 8)
        self.layers = torch.nn.ModuleList(
            torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
            for _ in range(layers)
        )
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x):
        h = self.embedding(x)
        for layer in self.layers:
            h = layer(h)
        return self.head(h.mean(1))


TOKENS = rng.integers(0, 9, (4, 6))


def test_attention_rollout_of_encoder_layers():
    module = Encoder()
    found = attribute(module, TOKENS, method="attention-rollout")
    module.eval()
    rolled, h = np.eye(6), module.embedding(torch.tensor(TOKENS))
    for layer in module.layers:
        _, weights = layer.self_attn(h, h, h)
        rolled = 0.5 * (weights.detach().numpy() + np.eye(6)) @ rolled
        h = layer(h)
    np.testing.assert_allclose(found.values, rolled.mean(1), atol=1e-6)


class Causal(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.qkv, self.head, self.options = torch.nn.Linear(8, 24), torch.nn.Linear(8, 2), options

    def forward(self, x):
        q, k, v = (t.reshape(*x.shape[:2], 2, 4).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, **self.options)
        return self.head(y.transpose(1, 2).reshape(x.shape)[:, -1])


@pytest.mark.parametrize(
    "options",
    [
        {"is_causal": True},
        {"attn_mask": torch.ones(5, 5, dtype=torch.bool).tril()},
        {"attn_mask": torch.linspace(-1, 1, 25).reshape(5, 5), "scale": 0.3},
    ],
)
def test_attention_by_the_function_is_what_multiplies_the_values(options):
    x = rng.normal(size=(3, 5, 8)).astype(np.float32)
    module = Causal(**options)
    (weights,) = subject_of(module, x).attention(x)
    v = module.qkv(torch.tensor(x)).chunk(3, -1)[2].reshape(3, 5, 2, 4).transpose(1, 2)
    y = torch.tensor(weights).float() @ v
    logits = module.head(y.transpose(1, 2).reshape(3, 5, 8)[:, -1])
    expected = module(torch.tensor(x))
    np.testing.assert_allclose(logits.detach(), expected.detach(), atol=1e-5)
    if options.get("is_causal"):
        np.testing.assert_allclose(np.triu(weights[0, 0], 1), 0)


def test_influence_is_the_formula_with_the_hessian_of_autograd():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(5, 3)).double()
    y, answers = rng.integers(0, 3, 6), np.array([0, 2])
    found = influence(module, X[:2], answers, training=(X, y), damping=0.2)

    def loss(w, x, targets):
        logits = x @ w[:15].reshape(3, 5).T + w[15:]
        return torch.nn.functional.cross_entropy(logits, targets)

    w = torch.cat([p.detach().reshape(-1) for p in module.parameters()])
    x, targets = torch.tensor(X), torch.tensor(y)
    hessian = torch.autograd.functional.hessian(lambda v: loss(v, x, targets), w)

    def slopes(rows, codes):
        pairs = zip(torch.tensor(rows), torch.tensor(codes), strict=True)
        return np.stack(
            [
                torch.autograd.functional.jacobian(lambda v, r=r, c=c: loss(v, r[None], c[None]), w)
                for r, c in pairs
            ]
        )

    solved = np.linalg.solve(hessian.numpy() + 0.2 * np.eye(18), slopes(X, y).T)
    np.testing.assert_allclose(found.values, slopes(X[:2], answers) @ solved / 6, rtol=1e-3)


@pytest.mark.parametrize(
    ("reading", "width"), [("log-odds", 1), ("values", 1), ("probabilities", 1)]
)
def test_influence_agrees_between_the_frameworks(reading, width):
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(torch.nn.Linear(5, 1), torch.nn.Sigmoid()).double()
    mine = nn.Sequential(nn.Linear(5, 1), nn.Sigmoid()).to(np.float64)
    mine.load_state_dict(theirs.state_dict())
    if reading != "probabilities":
        theirs, mine = theirs[:1], mine[:1]
    y = rng.normal(size=6) if reading == "values" else rng.integers(0, 2, 6)
    found = [
        influence(m, X[:2], y[:2], training=(X, y), damping=0.5, reading=reading).values
        for m in (theirs, mine)
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)


def test_influence_goes_through_attention():
    module, x = Causal(is_causal=True), rng.normal(size=(4, 5, 8)).astype(np.float32)
    losses = subject_of(module, x).losses(x, np.array([0, 1, 1, 0]))
    v, w, slopes = rng.normal(size=losses.size), losses.weights.detach().clone(), []
    for step in (1e-2, -1e-2):
        losses.weights = w + step * torch.tensor(v).float()
        slopes.append(losses.gradient())
    losses.weights = w
    moved = (slopes[0] - slopes[1]) / 2e-2
    np.testing.assert_allclose(losses.product(v), moved, rtol=0.02, atol=1e-3)


def test_columns_agree_between_the_frameworks():
    theirs, mine, y = table(), ours(table()), rng.integers(0, 3, 6)
    a, b = (permutation_importance(m, X, y, seed=1) for m in (theirs, mine))
    np.testing.assert_allclose(a.increase, b.increase, atol=1e-12)
    a, b = (partial_dependence(m, X, 3) for m in (theirs, mine))
    np.testing.assert_allclose(a.each, b.each, atol=1e-12)


@pytest.mark.parametrize("method", [*METHODS, "grad-cam", "attention-rollout"])
def test_the_module_is_left_to_the_bit_as_it_was(method):
    if method == "attention-rollout":
        module, x = Encoder(), TOKENS
    else:
        x = IMAGES
        module = torch.nn.Sequential(
            torch.nn.Conv2d(2, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Dropout(0.5),
            torch.nn.Flatten(), torch.nn.Linear(72, 3),
        )  # fmt: skip
    module.train()
    before = {n: v.clone() for n, v in module.state_dict().items()}
    key = torch.get_rng_state()
    options = {"groups": patches((2, 8, 8), 4)} if method in ("shapley", "occlusion") else {}
    found = attribute(module, x, method=method, **options)
    assert found.sanity.layers
    assert all(torch.equal(before[n], v) for n, v in module.state_dict().items())
    assert torch.equal(key, torch.get_rng_state())
    assert all(m.training for m in module.modules())
    assert all(p.grad is None for p in module.parameters())
    assert not any(m._forward_hooks for m in module.modules())


def test_features_are_what_the_last_dense_layer_takes():
    module = pictures()
    seen = subject_of(module, IMAGES).features(IMAGES)
    np.testing.assert_allclose(seen, module[:6](torch.tensor(IMAGES)).detach().numpy(), atol=1e-6)
    conv = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 8), torch.nn.Flatten())
    assert subject_of(conv, IMAGES).features(IMAGES).shape == (3, 3)


def test_bad_questions_of_modules():
    with pytest.raises(DTypeError, match="whole numbers"):
        attribute(Encoder(), TOKENS)
    with pytest.raises(ShapeError, match="the network fails on rows of the shape"):
        attribute(table(), X[:, :3])
    with pytest.raises(DataError, match="no convolution"):
        attribute(table(), X, method="grad-cam")
    with pytest.raises(DataError, match="no attention"):
        attribute(table(), X, method="attention-rollout")
    with pytest.raises(DataError, match="gives tuple"):
        attribute(torch.nn.LSTM(5, 3).double(), X)


def test_tensors_are_rows_too():
    expected = attribute(table(), X).values
    np.testing.assert_array_equal(attribute(table(), torch.tensor(X)).values, expected)
    mine = attribute(ours(table()), cr.asarray(X)).values
    np.testing.assert_allclose(mine, expected, atol=1e-12)
