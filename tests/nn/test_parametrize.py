"""Computed parameters, frozen ones, low-rank changes, shared ones: trained, shown, saved."""

import copy

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

parametrize, parametrizations = nn.utils.parametrize, nn.utils.parametrizations


def same_state(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(np.array_equal(v, b[n]) for n, v in a.items())


def came_back(model, path):
    nn.save(model, path)
    other = nn.load(path)
    assert same_state(model, other)
    assert repr(model) == repr(other)
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert frozen == [n for n, p in other.named_parameters() if not p.requires_grad]
    return other


def test_weight_norm_keeps_the_weight_and_splits_it():
    layer = nn.Linear(4, 3)
    before = layer.weight.numpy(copy=True)
    parametrizations.weight_norm(layer)
    np.testing.assert_allclose(layer.weight, before, rtol=1e-6)
    g = layer.parametrizations.weight.original0
    np.testing.assert_allclose(g[:, 0], np.linalg.norm(before, axis=1), rtol=1e-6)
    g.assign(g * 2)
    np.testing.assert_allclose(layer.weight, 2 * before, rtol=1e-6)


def test_spectral_norm_finds_the_largest_singular_value():
    layer = nn.Linear(5, 4)
    before = layer.weight.numpy(copy=True)
    parametrizations.spectral_norm(layer, n_power_iterations=50)
    largest = np.linalg.svd(before, compute_uv=False)[0]
    np.testing.assert_allclose(layer.weight, before / largest, rtol=1e-5)
    assert np.linalg.svd(layer.weight.numpy(), compute_uv=False)[0] == pytest.approx(1, rel=1e-5)


def test_in_use_the_power_iteration_stands_still():
    layer = parametrizations.spectral_norm(nn.Linear(5, 4)).eval()
    u, v = (getattr(layer.parametrizations.weight[0], n) for n in ("_u", "_v"))
    before = u.numpy(copy=True)
    layer(cr.ones((2, 5)))
    assert np.array_equal(before, u)
    v.assign(cr.ones(5) / 5**0.5)
    layer.train()(cr.ones((2, 5)))
    assert not np.array_equal(before, u)


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_computed_weights_are_trained_compiled_and_saved(norm, tmp_path):
    cr.seed(0)
    model = nn.Sequential(norm(nn.Linear(4, 8)), nn.Tanh(), nn.Linear(8, 1))
    x = cr.asarray(np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32))
    y = x[:, :1] * x[:, 1:2]

    def trained(model, compiled):
        opt = optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            loss = nn.mse_loss(model(x), y)
            loss.backward()
            opt.step()
            return loss

        step = cr.compile(step) if compiled else step
        return [step(x, y).item() for _ in range(8)]

    other = copy.deepcopy(model)
    losses = trained(model, False)
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(trained(other, True), losses, rtol=2e-5)
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(other.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    loaded = came_back(model.eval(), tmp_path / "m")
    np.testing.assert_array_equal(loaded(x), model(x))


def test_a_chain_of_parametrisations():
    class Twice(nn.Module):
        def forward(self, x):
            return 2 * x

    layer = nn.Linear(2, 2)
    before = layer.weight.numpy(copy=True)
    for _ in range(2):
        parametrize.register_parametrization(layer, "weight", Twice())
    np.testing.assert_allclose(layer.weight, 4 * before)
    assert parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias")
    parametrize.remove_parametrizations(layer, "weight")
    assert isinstance(layer.weight, nn.Parameter)
    np.testing.assert_allclose(layer.weight, 4 * before)
    assert not parametrize.is_parametrized(layer)


def test_removing_gives_the_original_back_if_asked():
    layer = nn.Linear(3, 3)
    before = layer.weight.numpy(copy=True)
    parametrizations.spectral_norm(layer)
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    assert np.array_equal(layer.weight, before)
    parametrizations.weight_norm(layer)
    with pytest.raises(cr.ChainruleError, match="leave_parametrized=True"):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)


def test_misuse_of_parametrisations_is_told():
    layer = nn.Linear(3, 2)
    with pytest.raises(cr.ChainruleError, match="no parameter 'wait'; it has weight, bias"):
        parametrizations.weight_norm(layer, "wait")
    with pytest.raises(cr.ShapeError, match="matrix"):
        parametrizations.spectral_norm(layer, "bias")
    with pytest.raises(cr.DTypeError, match="holds modules"):
        parametrize.register_parametrization(layer, "weight", cr.tanh)
    with pytest.raises(cr.ShapeError, match="shape"):
        parametrize.register_parametrization(layer, "weight", nn.Flatten(0))
    assert isinstance(layer.weight, nn.Parameter)
    parametrizations.weight_norm(layer)
    with pytest.raises(cr.ChainruleError, match="remove_parametrizations"):
        layer.weight = nn.Parameter(cr.zeros((2, 3)))
    with pytest.raises(AttributeError, match="no attribute 'wait'"):
        _ = layer.wait
    with pytest.raises(cr.ChainruleError, match="bias has no parametrisation"):
        parametrize.remove_parametrizations(layer, "bias")


# Freezing


def net():
    return nn.Sequential(
        nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(2, 3)}), nn.LayerNorm(3)
    )


def test_freezing_by_name():
    model = net()
    assert nn.freeze(model, "0.a") == ["0.a.weight", "0.a.bias"]
    assert nn.freeze(model, "*.bias") == ["0.a.bias", "0.b.bias", "1.bias"]
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert trained == ["0.b.weight", "1.weight"]
    assert nn.unfreeze(model, "0.*.bias") == ["0.a.bias", "0.b.bias"]
    assert len(nn.freeze(model)) == 6
    assert len(nn.unfreeze(model)) == 6
    with pytest.raises(cr.ChainruleError, match=r"named '0\.c'; close are 0\."):
        nn.freeze(model, "0.c")
    with pytest.raises(cr.DTypeError, match="text"):
        nn.freeze(model, 3)


def test_frozen_parameters_stay_through_training():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    nn.freeze(model, "0")
    before = model.state_dict()
    opt = optim.Adam(model.parameters(), lr=0.1)
    nn.mse_loss(model(cr.ones((4, 2))), cr.zeros((4, 1))).backward()
    opt.step()
    after = model.state_dict()
    changed = [n for n in before if not np.array_equal(before[n], after[n])]
    assert changed == ["1.weight", "1.bias"]


# Low-rank changes


def encoder():
    return nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), 2
    )


def test_low_rank_changes_begin_at_nothing_are_trained_alone_and_merge():
    cr.seed(0)
    model, x = encoder(), cr.asarray(np.random.default_rng(0).normal(size=(2, 5, 8)))
    model.to(cr.float64)
    before, y = model.state_dict(), model(x)
    nn.add_lora(model, ["linear1", "layers.1.self_attn.*"], r=2, lora_alpha=4)
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    assert names == [
        "layers.0.linear1.lora_A", "layers.0.linear1.lora_B",
        "layers.1.self_attn.out_proj.lora_A", "layers.1.self_attn.out_proj.lora_B",
        "layers.1.linear1.lora_A", "layers.1.linear1.lora_B",
    ]  # fmt: skip
    np.testing.assert_array_equal(model(x), y)
    opt = optim.Adam(model.parameters(), lr=0.05)
    for _ in range(3):
        (model(x) * cr.arange(8.0)).sum().backward()
        opt.step()
    after = model.state_dict()
    assert all(np.array_equal(after[n], v) for n, v in before.items())
    changed = model(x)
    assert not np.allclose(changed, y)
    layer = model.layers[0].linear1
    wanted = layer.weight.numpy() + 2 * layer.lora_B.numpy() @ layer.lora_A.numpy()
    nn.merge_lora(model)
    assert list(model.state_dict()) == list(before)
    np.testing.assert_allclose(model.layers[0].linear1.weight, wanted)
    np.testing.assert_allclose(model(x), changed, rtol=1e-10, atol=1e-12)


def test_exchanged_layers_are_saved(tmp_path):
    model = nn.add_lora(encoder(), "layers.1.linear2", r=3)
    model.layers[0].dropout1.p = 0.5
    loaded = came_back(model, tmp_path / "m")
    assert isinstance(loaded.layers[1].linear2, nn.LoRALinear)
    assert loaded.layers[1].linear2.r == 3
    assert type(loaded.layers[0].linear2) is nn.Linear
    assert loaded.layers[0].dropout1.p == 0.5


def test_a_bare_linear_and_loading_its_file(tmp_path):
    dense = nn.Linear(4, 3)
    changed = nn.add_lora(nn.Linear(4, 3), r=2)
    found = changed.load_state_dict(dense.state_dict(), strict=False)
    assert found.missing_keys == ["lora_A", "lora_B"]
    x = cr.ones((2, 4))
    np.testing.assert_array_equal(changed(x), dense(x))
    assert type(nn.merge_lora(changed)) is nn.Linear
    came_back(changed, tmp_path / "m")
    changed.weight.requires_grad = True
    came_back(changed, tmp_path / "n")


def test_misuse_of_low_rank_changes_is_told():
    with pytest.raises(cr.ChainruleError, match=r"named q_proj; it has layers\.0\.self_attn"):
        nn.add_lora(encoder(), "q_proj")
    with pytest.raises(cr.DTypeError, match="r is a whole number"):
        nn.LoRALinear(2, 2, r=0)
    with pytest.raises(cr.DTypeError, match="lora_dropout"):
        nn.LoRALinear(2, 2, lora_dropout=1.5)


def test_dropout_in_the_change_alone():
    cr.seed(0)
    layer = nn.LoRALinear(50, 3, lora_dropout=0.5)
    x = cr.ones((2, 50))
    np.testing.assert_array_equal(layer(x), layer(x))  # B is 0
    layer.lora_B.assign(cr.ones((3, 8)))
    assert not np.array_equal(layer(x), layer(x))
    assert np.array_equal(layer.eval()(x), layer(x))


# Tied weights


def test_tied_weights_are_one_parameter_through_training_saving_and_copying(tmp_path):
    model = nn.Sequential(nn.Embedding(7, 4), nn.RNN(4, 4), nn.Linear(4, 7, bias=False))
    model[2].weight = model[0].weight
    assert len([n for n, _ in model.named_parameters()]) == 5
    assert len(model.state_dict()) == 6
    for other in (came_back(model, tmp_path / "m"), copy.deepcopy(model)):
        assert other[2].weight is other[0].weight
    model[2](model[1](model[0](cr.asarray([[1, 2]])))[0]).sum().backward()
    both = model[0].weight.grad
    assert both.numpy().any(axis=1).all()  # the embedding's rows 1 and 2, and the output's all
    parametrizations.weight_norm(model[2])
    assert model[0].weight.shape == (7, 4)


def test_tied_weights_train_alike_compiled():
    def trained(compiled):
        cr.seed(1)
        model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7, bias=False))
        model[1].weight = model[0].weight
        opt = optim.Adam(model.parameters(), lr=0.1)
        x, y = cr.asarray([1, 2, 3, 4]), cr.asarray([2, 3, 4, 5])

        def step(x, y):
            loss = nn.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            return loss

        step = cr.compile(step) if compiled else step
        return [step(x, y).item() for _ in range(6)]

    np.testing.assert_allclose(trained(True), trained(False), rtol=1e-5)
