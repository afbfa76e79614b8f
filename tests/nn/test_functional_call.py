"""functional_call: a model as a function of its weights, and as it was afterwards."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn


def model():
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).to(cr.float64)


def inputs():
    return cr.asarray(np.random.default_rng(0).normal(size=(4, 2)))


def values(net, seed=1):
    rng = np.random.default_rng(seed)
    return {n: cr.asarray(rng.normal(size=p.shape)) for n, p in net.named_parameters()}


def test_it_computes_with_the_given_values_and_leaves_the_model():
    net, x = model(), inputs()
    before, own = net.state_dict(), list(net.parameters())
    given = values(net)
    result = nn.functional_call(net, given, x)
    other = model()
    other.load_state_dict(given)
    assert np.array_equal(result, other(x))
    assert all(a is b for a, b in zip(own, net.parameters(), strict=True))
    assert all(np.array_equal(v, before[n]) for n, v in net.state_dict().items())


def test_its_gradient_is_that_of_backward():
    net, x = model(), inputs()
    net(x).sum().backward()
    given = dict(net.named_parameters())
    found = cr.grad(lambda p: nn.functional_call(net, p, (x,)).sum())(given)
    for name, parameter in net.named_parameters():
        assert np.allclose(found[name], parameter.grad, rtol=1e-12)


def test_its_second_derivative_is_that_of_finite_differences():
    net, x = model(), inputs()
    given, direction = values(net), values(net, 2)

    def loss(p):
        return (nn.functional_call(net, p, x) ** 2).sum()

    def slope(p):
        g = cr.grad(loss)(p)
        return sum((g[n] * direction[n]).sum() for n in g)

    exact = cr.grad(slope)(given)
    h = 1e-5
    ahead, behind = (
        cr.grad(loss)({n: v + s * h * direction[n] for n, v in given.items()}) for s in (1, -1)
    )
    for name in given:
        assert np.allclose(exact[name], (ahead[name] - behind[name]) / (2 * h), rtol=1e-6)


def test_jvp_and_vjp_agree_through_it():
    net, x = model(), inputs()
    given, direction = values(net), values(net, 2)

    def f(p):
        return nn.functional_call(net, p, x)

    y, ty = cr.jvp(f, (given,), (direction,))
    w = cr.asarray(np.random.default_rng(3).normal(size=y.shape))
    _, pull = cr.vjp(f, given)
    (found,) = pull(w)
    inner = sum(float((found[n] * direction[n]).sum()) for n in given)
    assert float((w * ty).sum()) == pytest.approx(inner, rel=1e-12)


def test_some_parameters_may_be_left_out():
    net, x = model(), inputs()
    g = cr.grad(lambda b: nn.functional_call(net, {"2.bias": b}, x).sum())(
        cr.zeros(1, dtype=cr.float64)
    )
    assert g.tolist() == [4.0]


def test_the_model_is_restored_after_an_error():
    net = model()
    own = list(net.parameters())
    with pytest.raises(cr.ShapeError, match="`linear` in `0`"):
        nn.functional_call(net, values(net), cr.ones((1, 5)))
    assert all(a is b for a, b in zip(own, net.parameters(), strict=True))


def test_a_shared_parameter_is_replaced_wherever_it_is():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    double = cr.asarray([[2.0, 0.0], [0.0, 2.0]])
    for name in ("0.weight", "1.weight"):
        assert nn.functional_call(net, {name: double}, cr.ones((1, 2))).tolist() == [[4.0, 4.0]]
    with pytest.raises(cr.CheckpointError, match="shared"):
        nn.functional_call(net, {"0.weight": double, "1.weight": double + 1}, cr.ones((1, 2)))


def test_forward_finds_the_given_values_among_its_parameters():
    class Penalised(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter([1.0])

        def forward(self, x):
            return x * self.weight + sum((p**2).sum() for p in self.parameters())

    net = Penalised()
    g = cr.grad(lambda p: nn.functional_call(net, p, cr.asarray([5.0])).sum())
    assert g({"weight": cr.asarray([3.0])})["weight"].tolist() == [5.0 + 2 * 3.0]


def test_buffers_may_be_given_and_what_is_written_to_them_is_dropped():
    class Counter(nn.Module):
        def __init__(self):
            self.count = nn.Buffer([0.0])

        def forward(self, x):
            self.count.assign(self.count + 1)
            return x * self.count

    net, given = Counter(), cr.asarray([5.0])
    assert nn.functional_call(net, {"count": given}, cr.ones(1)).tolist() == [6.0]
    assert net.count.tolist() == [0.0]
    assert given.tolist() == [5.0]
    assert nn.functional_call(net, {}, cr.ones(1)).tolist() == [1.0]
    assert net.count.tolist() == [1.0]


def test_keyword_arguments_and_several_positional_ones():
    class Add(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter([1.0])

        def forward(self, a, b, *, c):
            return self.weight * (a + b + c)

    net = Add()
    found = nn.functional_call(net, {"weight": cr.asarray([2.0])}, (1.0, 2.0), {"c": 3.0})
    assert found.tolist() == [12.0]


def test_a_wrong_name_or_shape_is_refused():
    net = model()
    with pytest.raises(cr.CheckpointError, match=r"no parameter '0.weigth'; close are 0.weight"):
        nn.functional_call(net, {"0.weigth": cr.zeros((3, 2))}, inputs())
    with pytest.raises(cr.ShapeError, match=r"'0.weight' has the shape \(3, 2\), and \(2, 3\)"):
        nn.functional_call(net, {"0.weight": cr.zeros((2, 3))}, inputs())
