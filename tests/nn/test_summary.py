"""summary: shapes, parameters, operations and bytes of each layer."""

import json

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.tensor import generator


class Net(nn.Module):
    def __init__(self):
        self.blocks = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(6, 2)

    def forward(self, x):
        for block in self.blocks:
            x = nn.relu(block(x))
        return self.out(self.drop(self.norm(x)))


def rows(found):
    return {layer.path: layer for layer in found.layers}


def test_shapes_parameters_and_operations_by_hand():
    found = rows(cr.summary(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)),
                            cr.ones((5, 4))))  # fmt: skip
    assert found["0"].inputs == [(5, 4)]
    assert found["0"].outputs == [(5, 8)]
    assert found["0"].parameters == 4 * 8 + 8
    assert found["0"].flops == 2 * 5 * 4 * 8
    assert found["0"].bytes == 4 * (5 * 4 + 4 * 8 + 8 + 5 * 8)
    assert found["1"].parameters == 0
    assert found[""].parameters == 4 * 8 + 8 + 8 * 3 + 3
    assert found[""].flops == sum(found[name].flops for name in ("0", "1", "2"))
    assert found[""].kind == "Sequential"


def test_a_convolution():
    found = rows(cr.summary(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1)), cr.ones((2, 3, 10, 12))))
    assert found["0"].outputs == [(2, 8, 10, 12)]
    assert found["0"].flops == pytest.approx(2 * 2 * 8 * 10 * 12 * 3 * 9, rel=0.01)  # and the bias


def test_functions_between_modules_count_for_the_module_that_calls_them():
    found = rows(cr.summary(Net(), cr.ones((3, 6))))
    inside = sum(found[name].flops for name in ("blocks.0", "blocks.1", "norm", "drop", "out"))
    assert found[""].flops == inside + 2 * 3 * 6  # two ReLUs


def test_frozen_and_shared_parameters():
    shared = nn.Linear(4, 4)
    net = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 1))
    shared.requires_grad_(False)
    found = rows(cr.summary(net, cr.ones((1, 4))))
    assert found[""].parameters == 20 + 5
    assert found[""].trainable == 5
    assert found["0"].calls == 2
    assert found["0"].flops == 2 * (2 * 4 * 4)
    assert "20 of them frozen" in str(cr.summary(net, cr.ones((1, 4))))
    assert "×2" in str(cr.summary(net, cr.ones((1, 4))))


def test_the_network_is_left_alone():
    net = Net()
    net.train()
    net.drop.eval()
    before = net.state_dict(), [m.training for m in net.modules()], generator.default.state
    cr.summary(net, cr.asarray(np.random.default_rng(0).normal(size=(3, 6))))
    after = net.state_dict(), [m.training for m in net.modules()], generator.default.state
    assert all((before[0][name] == after[0][name]).all() for name in before[0])
    assert before[1:] == after[1:]
    assert all(p.grad is None for p in net.parameters())


def test_what_a_forward_pass_writes_and_draws_is_put_back():
    class Counting(nn.Module):
        def __init__(self):
            self.count = nn.Buffer(cr.zeros(()))

        def forward(self, x):
            self.count.assign(self.count + 1)
            return x + cr.random.normal(x.shape)

    net, state = Counting(), generator.default.state
    cr.summary(net, cr.ones(3))
    assert net.count.item() == 0
    assert generator.default.state == state


def test_a_compiled_forward_pass_is_seen():
    net = nn.Sequential(nn.Linear(4, 2))
    net.forward = cr.compile(net.forward)
    assert rows(cr.summary(net, cr.ones((1, 4))))["0"].flops == 2 * 4 * 2


def test_how_it_looks():
    found = cr.summary(Net(), cr.ones((3, 6)))
    lines = str(found).splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "operations", "moved"]
    assert lines[2].startswith("(all)")
    assert lines[3].startswith("  blocks.0  ")
    assert "110 parameters" in lines[-1]
    assert "<table>" in found._repr_html_()
    assert json.loads(json.dumps(found.to_dict()))["layers"][0]["parameters"] == 110


def test_several_inputs_and_nested_ones():
    class Two(nn.Module):
        def forward(self, a, b):
            return {"sum": a + b["x"], "twice": (a, a)}

    found = cr.summary(Two(), cr.ones((2, 3)), {"x": np.ones(3)})
    assert found.layers[0].inputs == [(2, 3), (3,)]
    assert found.layers[0].outputs == [(2, 3)] * 3


def test_errors():
    with pytest.raises(cr.DTypeError, match="takes a module, not function"):
        cr.summary(lambda x: x, cr.ones(2))
    with pytest.raises(cr.ShapeError, match="linear"):
        cr.summary(nn.Linear(2, 3), cr.ones((1, 4)))
