"""Module: what it finds among its attributes, how it is called, and what it says when it fails."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.tensor.graph import state


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.scale = nn.Parameter([2.0])
        self.register_buffer("count", cr.zeros((), dtype=cr.int64))
        self.register_buffer("scratch", [1.0], persistent=False)

    def forward(self, x):
        return self.fc1(x) * self.scale


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleList([Block(4), Block(4)])
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        for block in self.encoder:
            x = block(x)
        return self.head(x)


def test_names_of_parameters_own_before_those_of_submodules():
    names = [name for name, _ in Net().named_parameters()]
    assert names == [
        "encoder.0.scale",
        "encoder.0.fc1.weight",
        "encoder.0.fc1.bias",
        "encoder.1.scale",
        "encoder.1.fc1.weight",
        "encoder.1.fc1.bias",
        "head.weight",
        "head.bias",
    ]
    assert [n for n, _ in Net().named_modules()] == [
        "",
        "encoder",
        "encoder.0",
        "encoder.0.fc1",
        "encoder.1",
        "encoder.1.fc1",
        "head",
    ]
    assert [n for n, _ in Net().named_children()] == ["encoder", "head"]


def test_buffers_are_saved_unless_they_are_not_persistent():
    net = Net()
    assert [n for n, _ in net.named_buffers()][:2] == ["encoder.0.count", "encoder.0.scratch"]
    assert "encoder.0.count" in net.state_dict()
    assert "encoder.0.scratch" not in net.state_dict()


def test_a_shared_parameter_is_one_parameter_under_two_names():
    net = Net()
    net.head.weight = nn.Parameter(cr.zeros((4, 4)))
    net.encoder[0].fc1.weight = net.head.weight
    assert sum(p is net.head.weight for p in net.parameters()) == 1
    assert {"head.weight", "encoder.0.fc1.weight"} <= set(net.state_dict())


def test_a_shared_module_is_one_module():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    assert [n for n, _ in net.named_modules()] == ["", "0", "1"]
    assert len(list(net.parameters())) == 2
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_gradients_reach_every_parameter():
    net = Net()
    net(cr.ones((2, 4))).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_a_forgotten_super_init_changes_nothing():
    class Forgetful(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(2, 1)

        def forward(self, x):
            return self.fc(x)

    net = Forgetful()
    assert net(cr.ones((1, 2))).shape == (1, 1)
    assert len(list(net.parameters())) == 2
    assert not net.eval().training


def test_train_and_eval_reach_every_module_and_respect_an_override():
    class Frozen(nn.Sequential):
        def train(self, mode=True):
            return super().train(False)

    net = nn.Sequential(Frozen(nn.ReLU()), nn.ReLU())
    net.train()
    assert net.training
    assert net[1].training
    assert not net[0].training
    assert not net[0][0].training
    net.eval()
    assert not any(m.training for m in net.modules())


def test_requires_grad_freezes():
    net = Net().requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    assert not net(cr.ones((1, 4))).requires_grad


def test_apply_visits_each_module_once_and_the_whole_last():
    net, seen = Net(), []
    net.apply(seen.append)
    assert len(seen) == len(set(map(id, seen))) == 7
    assert seen[-1] is net


def test_to_converts_in_place_and_keeps_the_parameters():
    net = Net()
    before = list(net.parameters())
    net(cr.ones((2, 4))).sum().backward()
    assert net.to(cr.float64) is net
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    assert {p.dtype for p in net.parameters()} == {cr.float64}
    assert {p.grad.dtype for p in net.parameters()} == {cr.float64}
    assert net.encoder[0].count.dtype == cr.int64
    net.zero_grad()
    net(cr.ones((2, 4))).sum().backward()  # float32 input is cast
    assert net.head.weight.grad.dtype == cr.float64


def test_a_view_taken_before_a_conversion_keeps_its_value():
    p = nn.Parameter([1.0, 2.0])
    row = p[0]
    nn.ModuleDict({"a": nn.Linear(1, 1)})
    holder = nn.Linear(1, 1)
    holder.weight = p
    holder.to(cr.float64)
    p.assign([5.0, 6.0])
    assert row.item() == 1.0


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps"])
def test_to_another_device_says_that_there_is_none(device):
    with pytest.raises(ValueError, match="there is no device"):
        Net().to(device)


def test_to_an_integer_dtype_is_refused():
    with pytest.raises(cr.DTypeError, match="real floating-point"):
        Net().to(cr.int64)
    net = Net()
    assert net.to("cpu") is net


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_equal_and_apart(duplicate):
    net = Net().eval()
    net.encoder[1].fc1.weight = net.encoder[0].fc1.weight
    net.head.bias.requires_grad = False
    other = duplicate(net)
    x = cr.ones((2, 4))
    assert np.array_equal(net(x), other(x))
    assert not other.training
    assert not other.head.bias.requires_grad
    assert not other.encoder[0].scratch.persistent
    assert other.encoder[1].fc1.weight is other.encoder[0].fc1.weight
    assert not {id(p) for p in net.parameters()} & {id(p) for p in other.parameters()}
    other.head.weight.assign(np.zeros((3, 4)))
    assert net.head.weight.numpy().any()


def test_a_plain_tensor_does_not_replace_a_parameter():
    net = Net()
    with pytest.raises(cr.DTypeError, match=r"assign.*nn.Parameter"):
        net.head.weight = cr.zeros((3, 4))
    net.head.bias = None
    assert net(cr.ones((1, 4))).shape == (1, 3)


def test_a_name_that_the_class_needs_is_refused():
    with pytest.raises(cr.ChainruleError, match="train is taken"):
        Net().train = nn.Linear(1, 1)
    with pytest.raises(cr.ChainruleError, match="training is taken"):
        Net().training = nn.Parameter([1.0])


def test_a_module_is_not_put_inside_of_itself():
    net = Net()
    with pytest.raises(cr.ChainruleError, match="inside of itself"):
        net.encoder[0].outer = net
    net.encoder[0].outer = (net,)


def test_what_is_registered_is_checked():
    net = Net()
    with pytest.raises(cr.DTypeError, match="is not one"):
        net.add_module("extra", np.tanh)
    with pytest.raises(cr.DTypeError, match="without dots"):
        net.add_module("a.b", nn.ReLU())
    with pytest.raises(cr.DTypeError, match="is to be a Parameter"):
        net.register_parameter("extra", cr.zeros(1))
    net.add_module("extra", nn.ReLU())
    net.register_parameter("bias", None)
    assert net.bias is None
    assert isinstance(net.extra, nn.ReLU)


def test_integers_make_no_parameter():
    with pytest.raises(cr.GradientError, match="floating-point"):
        nn.Parameter([1, 2])
    assert nn.Parameter([1, 2], requires_grad=False).dtype == cr.int64


def test_a_class_without_forward_says_so():
    with pytest.raises(cr.ChainruleError, match="Net2 has no forward"):
        type("Net2", (nn.Module,), {})()(1)


def test_an_error_names_the_path_and_the_users_line():
    net = Net()
    net.encoder[1].fc1 = nn.Linear(5, 4)
    with pytest.raises(cr.ShapeError) as error:
        net(cr.ones((2, 4)))  # this line is not named: the call in Block.forward is nearer
    line = next(
        i
        for i, text in enumerate(Path(__file__).read_text().splitlines(), 1)
        if "return self.fc1(x) * self.scale" in text
    )
    assert str(error.value).startswith(
        f"`linear` in `encoder.1.fc1` ({Path(__file__).name}:{line}): "
    )
    assert "(2, 4)" in str(error.value)
    assert "(4, 5)" in str(error.value)


def test_the_scope_ends_with_the_call_and_with_an_error():
    net = Net()
    net(cr.ones((1, 4)))
    assert state.scope is None
    with pytest.raises(cr.ShapeError):
        net(cr.ones((1, 3)))
    assert state.scope is None
    assert not state.quiet


def test_the_module_of_a_derivative_is_named_too():
    net = Net()
    y = net(cr.ones((1, 4))).sum()
    y.backward()
    with pytest.raises(cr.GradientError, match="before"):
        y.backward()
    loss = net.head(cr.ones((1, 4))).sum()
    net.head.weight.assign(np.zeros((3, 4)))
    with pytest.raises(cr.GradientError, match="`linear` in `Linear`"):
        loss.backward()


def test_nothing_is_recorded_without_gradients():
    net = Net()
    with cr.no_grad():
        assert not net(cr.ones((1, 4))).requires_grad


def test_repr_shows_the_tree():
    assert repr(Net()).splitlines() == [
        "Net(",
        "  (encoder): ModuleList(",
        "    (0): Block(",
        "      (fc1): Linear(in_features=4, out_features=4)",
        "    )",
        "    (1): Block(",
        "      (fc1): Linear(in_features=4, out_features=4)",
        "    )",
        "  )",
        "  (head): Linear(in_features=4, out_features=3)",
        ")",
    ]
