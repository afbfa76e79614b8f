"""Sequential, ModuleList and ModuleDict behave as a row, a list and a dict of modules."""

import itertools
from collections import OrderedDict

import pytest

import chainrule as cr
from chainrule import nn


def row(kind, *sizes):
    modules = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    return (kind(*modules) if kind is nn.Sequential else kind(modules)), modules


@pytest.mark.parametrize("kind", [nn.Sequential, nn.ModuleList])
def test_a_row_is_indexed_sliced_and_changed_as_a_list(kind):
    held, modules = row(kind, 2, 3, 4, 5)
    assert len(held) == 3
    assert list(held) == modules
    assert held[0] is modules[0]
    assert held[-1] is modules[2]
    assert isinstance(held[1:], kind)
    assert list(held[1:]) == modules[1:]
    assert [n for n, _ in held[1:].named_children()] == ["0", "1"]
    extra = nn.ReLU()
    held.append(extra)
    held.insert(1, nn.Tanh())
    assert [type(m).__name__ for m in held] == ["Linear", "Tanh", "Linear", "Linear", "ReLU"]
    del held[1]
    del held[-2:]
    assert list(held) == modules[:2]
    assert [n for n, _ in held.named_children()] == ["0", "1"]
    held[1] = extra
    assert held[1] is extra
    held.extend([nn.Tanh(), nn.Tanh()])
    assert len(held) == 4
    with pytest.raises(IndexError, match="there is no module 7 in this"):
        held[7]
    with pytest.raises(TypeError, match="a place is a whole number"):
        held["0"]


def test_a_slice_shares_its_modules_and_the_mode():
    model, modules = row(nn.Sequential, 2, 3, 4)
    part = model.eval()[:1]
    assert part[0] is modules[0]
    assert not part.training


def test_names_stay_with_named_modules():
    model = nn.Sequential(OrderedDict(first=nn.Linear(2, 3), act=nn.ReLU(), last=nn.Linear(3, 1)))
    assert list(model.state_dict()) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    assert model.first is model[0]
    assert [n for n, _ in model[1:].named_children()] == ["act", "last"]
    assert model(cr.ones((4, 2))).shape == (4, 1)


def test_an_empty_sequential_gives_back_its_input():
    x = cr.ones(2)
    assert nn.Sequential()(x) is x


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: nn.Sequential(nn.Linear(1, 1), nn.ReLU), r"ReLU\(…\)"),
        (lambda: nn.Sequential(nn.Linear(1, 1), nn.relu), r"nn.ReLU\(\) for nn.relu"),
        (lambda: nn.Sequential([nn.Linear(1, 1)]), r"nn.Sequential\(\*modules\)"),
        (lambda: nn.ModuleList([3]), "holds modules"),
        (lambda: nn.ModuleDict({"a": None}), "holds modules"),
        (lambda: nn.ModuleDict({"a.b": nn.ReLU()}), "without dots"),
    ],
)
def test_what_is_no_module_is_refused(wrong, told):
    with pytest.raises(cr.DTypeError, match=told):
        wrong()


def test_a_module_dict_is_a_dict():
    a, b = nn.Linear(1, 2), nn.Linear(1, 3)
    held = nn.ModuleDict({"a": a})
    held["b"] = b
    assert list(held) == list(held.keys()) == ["a", "b"]
    assert list(held.values()) == [a, b]
    assert dict(held.items()) == {"a": a, "b": b}
    assert "a" in held
    assert "c" not in held
    assert len(held) == 2
    del held["a"]
    assert list(held.state_dict()) == ["b.weight", "b.bias"]
    held.update([("b", a)])
    assert held["b"] is a
    with pytest.raises(KeyError):
        held["c"]
    with pytest.raises(cr.ChainruleError, match="keys is taken"):
        held["keys"] = nn.ReLU()
