"""load_state_dict: what fits is written, what does not is named, and then nothing is written."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn


def model():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_a_state_dict_is_a_snapshot():
    net = model()
    saved = net.state_dict()
    before = saved["0.weight"].copy()
    net[0].weight.assign(np.zeros((4, 3)))
    assert np.array_equal(saved["0.weight"], before)
    assert saved["0.weight"].flags.writeable


def test_values_are_loaded_into_the_same_parameters():
    net, other = model(), model()
    weight = net[0].weight
    found = net.load_state_dict(other.state_dict())
    assert found.missing_keys == found.unexpected_keys == []
    assert net[0].weight is weight
    for name, value in net.state_dict().items():
        assert np.array_equal(value, other.state_dict()[name])


def test_tensors_lists_and_other_dtypes_are_taken():
    net = nn.Linear(2, 1)
    net.load_state_dict({"weight": cr.asarray([[1.0, 2.0]]), "bias": np.array([3.0])})
    assert net.weight.dtype == net.bias.dtype == cr.float32
    net.load_state_dict({"weight": [[4, 5]], "bias": nn.Parameter([6.0])})
    assert net.weight.tolist() == [[4.0, 5.0]]


def test_every_misfit_is_named_at_once_and_nothing_is_written():
    net = model()
    before = net.state_dict()
    wrong = net.state_dict()
    wrong["0.weigth"] = wrong.pop("0.weight")
    wrong["2.weight"] = wrong["2.weight"].T
    wrong["0.bias"] = wrong["0.bias"] + 1
    with pytest.raises(cr.CheckpointError) as error:
        net.load_state_dict(wrong)
    text = str(error.value)
    assert "'0.weight' is missing; '0.weigth' is close" in text
    assert "'0.weigth' is not expected; '0.weight' is close" in text
    assert "'2.weight' has the shape (4, 2), and (2, 4) is needed (transposed?" in text
    assert "nothing was loaded" in text
    for name, value in net.state_dict().items():
        assert np.array_equal(value, before[name])


def test_not_strict_takes_what_fits_and_still_minds_the_shapes():
    net = model()
    found = net.load_state_dict({"0.bias": np.ones(4), "more": np.ones(1)}, strict=False)
    assert found.missing_keys == ["0.weight", "2.weight", "2.bias"]
    assert found.unexpected_keys == ["more"]
    assert net[0].bias.tolist() == [1.0] * 4
    with pytest.raises(cr.CheckpointError, match=r"\(3,\), and \(4,\) is needed"):
        net.load_state_dict({"0.bias": np.ones(3)}, strict=False)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "net.inner."])
def test_a_prefix_in_front_of_all_names_is_seen(prefix):
    net = model()
    values = {prefix + name: value for name, value in net.state_dict().items()}
    with pytest.raises(cr.CheckpointError) as error:
        net.load_state_dict(values)
    cure = str(error.value).split("Write ")[-1]
    net.load_state_dict(eval(cure, {"values": values}))

    wrapped = nn.Module()
    wrapped.inner = net
    with pytest.raises(cr.CheckpointError) as error:
        wrapped.load_state_dict(net.state_dict())
    cure = str(error.value).split("Write ")[-1]
    wrapped.load_state_dict(eval(cure, {"values": net.state_dict()}))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1, 2], "a dict from names to arrays, not list"),
        ("model.safetensors", r"nn.read_arrays\(path\)"),
        ({"weight": {"x": 1}, "bias": [0.0]}, r"values\['weight'\]"),
        ({"weight": [["a", "b"]], "bias": [0.0]}, "holds no numbers"),
        ({"weight": [[1.0], [2.0, 3.0]], "bias": [0.0]}, "cannot be read as an array"),
        ({"weight": [[1j, 2.0]], "bias": [0.0]}, "complex128, which float32 cannot hold"),
    ],
)
def test_what_is_no_state_is_refused(values, told):
    with pytest.raises(cr.CheckpointError, match=told):
        nn.Linear(2, 1).load_state_dict(values)
