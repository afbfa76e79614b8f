"""Compiled functions against the same functions run eagerly."""

import functools
import gc
import sys
import threading
import weakref

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.compile.compiled import compile as compile_with
from chainrule.tensor.graph import state
from chainrule.tree import flatten
from tests.compile.interpreter import interpret

compiled = functools.partial(compile_with, backend=interpret)
F32 = {"rtol": 1e-4, "atol": 1e-5}


def arrays(seed=0, rows=6):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 4)).astype("f4"), rng.integers(0, 3, rows)


def batch(seed=0, rows=6):
    x, y = arrays(seed, rows)
    return cr.asarray(x), cr.asarray(y)


def network(*layers):
    cr.seed(1)
    return nn.Sequential(nn.Linear(4, 8), *layers, nn.Tanh(), nn.Linear(8, 3))


def training(model, opt, after=lambda: None):
    def step(x, y):
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        after()
        opt.step()
        return loss

    return step


def states(model, opt):
    saved = opt.state_dict()["state"]
    running = [v for p in saved.values() for v in p.values()]
    return [*model.state_dict().values(), *running]


def assert_alike(mine, other):
    assert len(mine) == len(other)
    for a, b in zip(mine, other, strict=True):
        np.testing.assert_allclose(a, b, **F32)


def both(make, steps=6, rows=(6, 6, 6, 6, 6, 5), during=lambda i, model, opt: None):
    """States after training eagerly, after training compiled, and the compiled step."""
    found, step = [], None
    for wrap in (lambda f: f, compiled):
        model, opt, function = make()
        step = wrap(function)
        losses = []
        for i in range(steps):
            during(i, model, opt)
            losses.append(step(*batch(i, rows[i % len(rows)])).item())
        found.append([*states(model, opt), np.array(losses)])
    return (*found, step)


# Training


OPTIMISERS = [
    lambda p: optim.SGD(p, lr=0.1),
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
    lambda p: optim.Adam(p, lr=0.01),
    lambda p: optim.Adam(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    lambda p: optim.AdamW(p, lr=0.01, betas=(0.8, 0.9)),
    lambda p: optim.RMSprop(p, lr=0.01),
    lambda p: optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True, weight_decay=0.1),
]


@pytest.mark.parametrize("make", OPTIMISERS)
def test_training_is_the_same_with_every_optimiser_and_a_last_smaller_batch(make):
    def setting():
        model = network()
        opt = make(model.parameters())
        return model, opt, training(model, opt)

    eager, mine, step = both(setting, steps=12)
    assert_alike(eager, mine)
    assert step.traces == 2


@pytest.mark.parametrize("make", OPTIMISERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_rule_of_an_optimiser_is_its_update(make, dtype):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(3, 5)).astype(dtype)
    p, q = nn.Parameter(start), nn.Parameter(start)
    first, second = make([p]), make([q])

    @compiled
    def step(g):
        q.grad = g
        second.step()

    for _ in range(30):
        g = cr.asarray(rng.normal(size=(3, 5)).astype(dtype))
        p.grad = g
        first.step()
        step(g)
        np.testing.assert_array_equal(p.numpy(), q.numpy())
    mine, other = (o.state_dict()["state"][0] for o in (first, second))
    assert mine.keys() == other.keys()
    for name in mine:
        np.testing.assert_array_equal(mine[name], other[name])


def test_eager_and_compiled_steps_mix():
    def setting():
        model = network()
        opt = optim.Adam(model.parameters(), lr=0.01)
        return model, opt, training(model, opt)

    model, opt, step = setting()
    fast = compiled(step)
    for i in range(9):
        (fast if i % 3 else step)(*batch(i))
    eager = setting()
    for i in range(9):
        eager[2](*batch(i))
    assert_alike(states(model, opt), states(*eager[:2]))


def test_a_changed_rate_and_schedules_need_no_trace():
    def setting():
        model = network()
        opt = optim.AdamW(model.parameters(), lr=0.01)
        schedule = optim.CosineAnnealingLR(opt, 10)
        return model, opt, training(model, opt, schedule.step)

    def change(i, model, opt):
        if i == 3:
            opt.param_groups[0]["betas"] = (0.5, 0.6)

    eager, mine, step = both(setting, rows=(6,), during=change)
    assert_alike(eager, mine)
    assert step.traces == 1


def test_one_cycle_moves_momentum_too():
    def setting():
        model = network()
        opt = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        schedule = optim.OneCycleLR(opt, 0.1, 20)
        return model, opt, training(model, opt, schedule.step)

    eager, mine, step = both(setting, rows=(6,), steps=8)
    assert_alike(eager, mine)
    assert step.traces == 1


def test_an_option_that_becomes_zero_changes_the_rule():
    def setting():
        model = network()
        opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return model, opt, training(model, opt)

    def change(i, model, opt):
        if i == 2:
            opt.param_groups[0]["momentum"] = 0.0
        if i == 4:
            opt.param_groups[0].update(weight_decay=0.1, momentum=0.5)

    eager, mine, step = both(setting, rows=(6,), during=change)
    assert_alike(eager, mine)
    assert step.traces == 3


def test_loaded_state_is_used():
    def setting():
        model = network()
        opt = optim.Adam(model.parameters(), lr=0.01)
        return model, opt, training(model, opt)

    kept = {}

    def change(i, model, opt):
        if i == 2:
            kept.update(model=model.state_dict(), opt=opt.state_dict())
        if i == 4:
            model.load_state_dict(kept["model"])
            opt.load_state_dict(kept["opt"])

    eager, mine, _ = both(setting, rows=(6,), during=change)
    assert_alike(eager, mine)


def test_a_new_group_is_trained_too():
    def setting():
        model = network()
        opt = optim.Adam(model[0].parameters(), lr=0.01)
        return model, opt, training(model, opt)

    def change(i, model, opt):
        if i == 2:
            opt.add_param_group({"params": list(model[2].parameters()), "lr": 0.1})
            opt.zero_grad()
            model.zero_grad()

    eager, mine, _ = both(setting, rows=(6,), during=change)
    assert_alike(eager, mine)


@pytest.mark.parametrize("limit", [1e-3, 1e3])
@pytest.mark.parametrize("order", [2.0, 1.0, float("inf")])
def test_clipping(limit, order):
    def setting():
        model = network()
        opt = optim.SGD(model.parameters(), lr=0.1)
        clip = functools.partial(optim.clip_grad_norm_, list(model.parameters()), limit, order)
        return model, opt, training(model, opt, clip)

    eager, mine, _ = both(setting)
    assert_alike(eager, mine)


def test_clipping_by_value():
    def setting():
        model = network()
        opt = optim.SGD(model.parameters(), lr=0.1)
        clip = functools.partial(optim.clip_grad_value_, list(model.parameters()), 0.01)
        return model, opt, training(model, opt, clip)

    eager, mine, _ = both(setting)
    assert_alike(eager, mine)


def test_gradients_that_are_added_up_over_several_calls():
    def setting():
        model = network()
        opt = optim.Adam(model.parameters(), lr=0.01)

        def step(x, y):
            loss = nn.cross_entropy(model(x), y)
            loss.backward()
            opt.step(every=3)
            return loss

        return model, opt, step

    eager, mine, step = both(setting, rows=(6,), steps=9)
    assert_alike(eager, mine)
    assert step.traces == 3


def test_backward_alone_leaves_gradients_that_eager_code_uses():
    def setting():
        model = network()
        opt = optim.Adam(model.parameters(), lr=0.01)

        def backward(x, y):
            loss = nn.cross_entropy(model(x), y)
            loss.backward()
            return loss

        return model, opt, backward

    found = []
    for wrap in (lambda f: f, compiled):
        model, opt, backward = setting()
        backward = wrap(backward)
        for i in range(4):
            backward(*batch(i))
            backward(*batch(i + 10))
            assert all(p.grad.numpy() is not None for p in model.parameters())
            opt.step()
            assert all(p.grad is None for p in model.parameters())
        found.append(states(model, opt))
    assert_alike(*found)
    assert backward.traces == 2


def test_step_alone_takes_gradients_from_eager_code():
    found = []
    for wrap in (lambda f: f, compiled):
        model = network()
        opt = optim.Adam(model.parameters(), lr=0.01)
        update = wrap(opt.step)
        for i in range(4):
            x, y = batch(i)
            nn.cross_entropy(model(x), y).backward()
            update()
            assert all(p.grad is None for p in model.parameters())
        found.append(states(model, opt))
    assert_alike(*found)
    assert update.traces == 1


def test_zero_grad_inside():
    model = network()

    @compiled
    def f(x, y):
        model.zero_grad()
        nn.cross_entropy(model(x), y).backward()

    x, y = batch()
    f(x, y)
    first = [p.grad.numpy() for p in model.parameters()]
    f(x, y)
    assert_alike(first, [p.grad.numpy() for p in model.parameters()])


# State of modules


def test_batch_norm_tracks_as_in_eager_and_follows_train_and_eval():
    for momentum in (0.1, None):
        found = []
        for wrap in (lambda f: f, compiled):
            cr.seed(3)
            model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=momentum))
            function = wrap(lambda x, model=model: model(x))
            outputs = [function(batch(i)[0]).numpy() for i in range(3)]
            model.eval()
            outputs += [function(batch(i)[0]).numpy() for i in range(2)]
            model.train()
            outputs.append(function(batch(8)[0]).numpy())
            found.append([*outputs, *model.state_dict().values()])
        assert_alike(*found)
        assert function.traces == 2


def test_dropout_draws_the_bits_of_eager_code_and_goes_on_from_there():
    found = []
    for wrap in (lambda f: f, compiled):
        model = network(nn.Dropout(0.5))
        function = wrap(model)
        cr.seed(5)
        drawn = [function(batch()[0]).numpy() for _ in range(3)]
        drawn.append(cr.random.uniform((3,)).numpy())
        model.eval()
        found.append([*drawn, function(batch()[0]).numpy()])
    assert_alike(*found)
    assert not np.array_equal(found[1][0], found[1][1])


def test_every_random_function_and_a_generator_of_ones_own():
    mine = cr.Generator(7)

    def draw(x):
        own = cr.Generator(3)
        return (
            cr.random.uniform((3,), -1.0, 1.0),
            cr.random.normal((3,), generator=mine),
            cr.random.normal((2, 3), dtype=cr.float64),
            cr.random.bernoulli(0.3, (5,), generator=mine),
            cr.random.integers(-2, 9, (4,)),
            cr.random.uniform((2,), generator=own) + x,
            cr.random.uniform((2,), generator=own),
        )

    found = []
    for wrap in (lambda f: f, compiled):
        cr.seed(2)
        mine.seed(7)
        function = wrap(draw)
        found.append([t.numpy() for _ in range(3) for t in function(cr.ones(()))])
        found[-1].append(np.array([*mine.state, *cr.random.uniform((2,)).tolist()]))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_seeding_and_permutations_inside_are_refused():
    for function in (lambda x: cr.seed(0), lambda x: x[cr.random.permutation(2)]):
        with pytest.raises(cr.CompileError):
            compiled(function)(cr.ones(2))


def test_cells_are_written_in_whole_in_part_and_in_place():
    def setting():
        counter, table = nn.Buffer(cr.zeros(())), nn.Buffer(cr.zeros((3, 2)))

        def f(x):
            counter.assign(counter + 1)
            table[1] = x
            table[0, 1] = counter
            with cr.no_grad():
                counter.__iadd__(1.0)
            return table * 2, counter, table[1]

        return counter, table, f

    found = []
    for wrap in (lambda f: f, compiled):
        counter, table, f = setting()
        f = wrap(f)
        old = table[1]
        results = [f(cr.asarray([float(i), 5.0])) for i in range(3)]
        found.append([t.numpy() for r in results for t in r[::2]])
        found[-1] += [counter.numpy(copy=True), table.numpy(copy=True), old.numpy()]
    assert_alike(*found)
    np.testing.assert_array_equal(found[1][-1], [0.0, 0.0])  # a view that was taken before


def test_what_is_returned_of_a_cell_is_its_value_then():
    cell = nn.Buffer(cr.zeros(2))

    @compiled
    def f(x):
        before = cell.detach()
        cell.assign(x)
        return before, cell

    first = f(cr.ones(2))
    second = f(cr.full(2, 5.0))
    assert [t.tolist() for t in (*first, *second)] == [[0, 0], [1, 1], [1, 1], [5, 5]]


def test_versions_rise_so_that_stale_graphs_are_refused():
    w = nn.Parameter(cr.ones(2))
    loss = (w * w).sum()
    compiled(lambda x: w.assign(w + x))(cr.ones(2))
    with pytest.raises(cr.GradientError, match="written to since"):
        loss.backward()


# Values from outside


def test_tensors_that_are_named_are_read_at_each_call():
    scale = cr.asarray([2.0])
    holder = nn.Module()
    holder.shift = cr.asarray(1.0)

    @compiled
    def f(x):
        return x * scale + holder.shift

    assert f(cr.ones(1)).tolist() == [3.0]
    scale[0] = 5.0
    assert f(cr.ones(1)).tolist() == [6.0]
    holder.shift = cr.asarray(2.0)
    assert f(cr.ones(1)).tolist() == [7.0]
    old = scale
    scale = cr.asarray([7.0])
    assert f(cr.ones(1)).tolist() == [9.0]
    scale = cr.asarray([1.0, 2.0])
    assert f(cr.ones(1)).tolist() == [3.0, 4.0]
    assert old.tolist() == [5.0]


def test_tensors_in_named_containers_are_guarded():
    weights = {"a": cr.ones(()), "b": [cr.ones(())]}
    rows = [cr.ones(()), cr.asarray(5.0)]
    kept = [*rows, weights["a"]]
    f = compiled(lambda x: x * weights["a"] + rows[0])
    assert f(cr.ones(())).item() == 2.0
    weights["a"] = cr.asarray(3.0)
    assert f(cr.ones(())).item() == 4.0
    rows[0] = kept[1]
    assert f(cr.ones(())).item() == 8.0
    rows.clear()
    with pytest.raises(IndexError):
        f(cr.ones(()))


def test_a_captured_tensor_that_nobody_holds_any_more_is_not_used():
    class Holder:
        scale = cr.asarray(2.0)

    f = compiled(lambda x: x * Holder.scale)
    assert f(cr.ones(())).item() == 2.0
    Holder.scale = cr.asarray(3.0)
    assert f(cr.ones(())).item() == 3.0


def test_updates_in_place_reach_whoever_holds_the_tensor():
    total, other = cr.zeros(2), cr.ones(3)

    def f(x, y):
        nonlocal total
        total += x
        x[0] = 7.0
        other[1:] = y
        made = cr.zeros(2)
        made[1] = y
        return made, x * 2, total * 1

    results = []
    for function in (f, compiled(f)):
        total, other = cr.zeros(2), cr.ones(3)
        held = total
        for i in range(3):
            x = cr.asarray([1.0, float(i)])
            found = function(x, cr.asarray(float(i)))
            results.append([t.tolist() for t in (*found, x, total, held, other)])
    assert results[:3] == results[3:]
    assert function.traces == 1


def test_labels_that_are_named_may_come_to_be_ignored():
    y = cr.asarray([0, 1, 2])
    x = cr.asarray(np.random.default_rng(0).normal(size=(3, 3)))
    f = compiled(lambda x: nn.cross_entropy(x, y))
    for _ in range(2):
        assert f(x).item() == pytest.approx(nn.cross_entropy(x, y).item())
        y[1] = -100
    assert f.traces == 1


def test_of_several_values_written_to_one_place_the_last_has_the_derivative():
    def f(v, places):
        x = cr.zeros(4, dtype=v.dtype)
        x[places] = v
        return (x * cr.asarray([1.0, 2.0, 3.0, 4.0], dtype=v.dtype)).sum()

    v, places = cr.asarray([1.0, 2.0, 3.0]), cr.asarray([2, 0, 2])
    expected = cr.grad(f)(v, places).tolist()
    assert expected == [0.0, 1.0, 3.0]
    assert compiled(cr.grad(f))(v, places).tolist() == expected


def test_an_update_in_place_that_has_a_derivative_is_refused():
    w = nn.Parameter(cr.ones(2))

    def f(x):
        x += w

    with pytest.raises(cr.CompileError, match="Return the new value"):
        compiled(f)(cr.ones(2))


def test_requires_grad_set_on_an_argument():
    def f(x):
        x.requires_grad = True
        (x**2).sum().backward()

    x = cr.asarray([1.0, 2.0])
    compiled(f)(x)
    assert x.grad.tolist() == [2.0, 4.0]


def test_constants_are_returned_without_a_new_trace():
    f = compiled(lambda x: (cr.zeros(2), cr.arange(3), x))
    for _ in range(2):
        assert [t.tolist() for t in f(cr.ones(()))] == [[0, 0], [0, 1, 2], 1]
    assert f.traces == 1


def test_a_compiled_module_is_still_the_module():
    model = network(nn.Dropout(0.5))
    f = compiled(model)
    assert f.eval() is model
    assert not model[1].training
    assert all(a is b for a, b in zip(f.parameters(), model.parameters(), strict=True))


SCALE = cr.asarray(2.0)


def test_names_in_functions_that_are_called_are_guarded():
    def helper(x):
        return x * SCALE

    f = compiled(lambda x: helper(x) + 1)
    assert f(cr.ones(())).item() == 3.0
    kept, module = SCALE, sys.modules[__name__]
    try:
        module.SCALE = cr.asarray(3.0)
        assert f(cr.ones(())).item() == 4.0
    finally:
        module.SCALE = kept


def test_attributes_of_modules_are_guarded():
    class Net(nn.Module):
        def __init__(self):
            self.power = 1
            self.mode = "double"
            self.layers = nn.ModuleList([nn.Linear(2, 2)])

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x**self.power * (2 if self.mode == "double" else 3)

    net = Net()
    f = compiled(net)
    x = cr.asarray([[1.0, 2.0]])
    for change in (
        lambda: None,
        lambda: setattr(net, "power", 2),
        lambda: setattr(net, "mode", "triple"),
        lambda: net.layers.append(nn.Linear(2, 2)),
        lambda: setattr(net.layers[0], "bias", None),
    ):
        change()
        np.testing.assert_allclose(f(x).numpy(), net(x).numpy(), rtol=1e-6)
    assert f.traces == 5


def test_frozen_parameters_and_other_dtypes_are_seen():
    model = network()

    def gradients(x, y):
        nn.cross_entropy(model(x), y).backward()

    f = compiled(gradients)
    f(*batch())
    assert model[0].weight.grad is not None
    model.zero_grad()
    model[0].requires_grad_(False)
    f(*batch())
    assert model[0].weight.grad is None
    assert model[2].weight.grad is not None
    model.zero_grad()
    model.to(cr.float64)
    f(*batch())
    assert model[2].weight.grad.dtype == cr.float64


def test_arguments_of_every_kind():
    @compiled
    def f(pair, options, power, *, flag=False):
        a, b = pair
        y = a * options["scale"] + b
        return {"y": y**power, "flag": flag, "list": [a, None]}

    x = np.arange(3.0)
    for _ in range(2):
        for power, flag in ((1, False), (2, True)):
            found = f((x, cr.asarray([1.0])), {"scale": cr.asarray(2.0)}, power, flag=flag)
            np.testing.assert_allclose(found["y"].numpy(), (x * 2 + 1) ** power)
            assert found["flag"] is flag
            assert found["list"][0].tolist() == x.tolist()
            assert found["list"][1] is None
    assert f.traces == 2
    f((x.astype("f4"), cr.asarray([1.0])), {"scale": cr.asarray(2.0)}, 1)
    f((x[:2], cr.asarray([1.0])), {"scale": cr.asarray(2.0)}, 1)
    f((x, cr.asarray([1.0])), {"scale": cr.asarray(2.0)}, 1.0)
    assert f.traces == 5


def test_strided_arguments_and_cells_as_arguments():
    w = nn.Parameter(cr.asarray([[1.0, 2.0], [3.0, 4.0]]))
    f = compiled(lambda a, b: a * 2 + b)
    x = cr.asarray(np.arange(8.0, dtype="f4").reshape(2, 4)[:, ::2])
    np.testing.assert_array_equal(f(x.T, w).numpy(), x.numpy().T * 2 + w.numpy())
    w.assign(cr.zeros((2, 2)))
    np.testing.assert_array_equal(f(x.T, w).numpy(), x.numpy().T * 2)
    assert f.traces == 1
    f(x.T, nn.Parameter(cr.zeros((2, 2))))
    assert f.traces == 2


def test_a_view_of_what_is_written_is_read_before():
    w = nn.Parameter(cr.asarray([1.0, 2.0]))

    @compiled
    def f(part):
        with cr.no_grad():
            w.assign(w + 10)
        return part * 2

    assert f(w.detach()).tolist() == [2.0, 4.0]
    assert f(w.detach()).tolist() == [22.0, 24.0]


def test_specialisations_are_bounded():
    f = compiled(lambda x, n: x + n)
    for n in range(80):
        assert f(cr.ones(()), n).item() == 1 + n
    assert sum(map(len, f._found.values())) == 64
    f(cr.ones(()), 79)
    assert f.traces == 80


def test_decorator_methods_and_nesting():
    class Thing:
        def __init__(self, factor):
            self.factor = factor

        @compiled
        def scaled(self, x):
            return x * self.factor

    assert Thing(2.0).scaled(cr.ones(())).item() == 2.0
    assert Thing(3.0).scaled(cr.ones(())).item() == 3.0
    inner = compiled(lambda x: x * x)
    outer = compiled(lambda x: inner(x) + 1)
    assert outer(cr.asarray(3.0)).item() == 10.0
    assert inner.traces == 0
    assert compile_with(inner) is inner
    with pytest.raises(cr.CompileError, match="module is compiled, not int"):
        compiled(3)


# Derivatives


def test_transforms_inside():
    def f(x):
        return (x**3).sum() + (x[0] * x[1]).sum()

    x, v = cr.asarray([2.0, 3.0]), cr.asarray([1.0, 0.5])
    for function in (
        cr.grad(f),
        cr.value_and_grad(f),
        cr.grad(lambda x: (cr.grad(f)(x) ** 2).sum()),
        lambda x: cr.jvp(f, (x,), (v,)),
        lambda x: cr.jvp(cr.grad(f), (x,), (v,)),
        lambda x: cr.vjp(functools.partial(cr.multiply, v), x)[1](x)[0],
        lambda x: cr.grad(lambda p: nn.functional_call(LAYER, {"weight": p}, x).sum())(WEIGHT),
        lambda x: cr.jvp(cr.softmax, (x,), (v,)),
    ):
        expected, found = function(x), compiled(function)(x)
        for a, b in zip(flatten(expected)[0], flatten(found)[0], strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-6)


LAYER = nn.Linear(2, 2)
WEIGHT = cr.ones((2, 2))


def test_functional_call_with_buffers():
    model = nn.BatchNorm1d(2)
    x = cr.asarray([[1.0, 2.0], [3.0, 5.0]])

    @compiled
    def f(mean, x):
        return nn.functional_call(model, {"running_mean": mean}, x)

    before = model.running_mean.numpy(copy=True)
    np.testing.assert_allclose(f(cr.ones(2), x).numpy(), nn.BatchNorm1d(2)(x).numpy(), rtol=1e-6)
    np.testing.assert_array_equal(model.running_mean.numpy(), before)


def test_create_graph_inside():
    model = network()

    def penalised(x, y):
        loss = nn.cross_entropy(model(x), y)
        loss.backward(create_graph=True)
        penalty = sum((p.grad**2).sum() for p in model.parameters())
        model.zero_grad()
        (loss + penalty).backward()
        return penalty

    expected = penalised(*batch()).item()
    wanted = [p.grad.numpy() for p in model.parameters()]
    model.zero_grad()
    found = compiled(penalised)(*batch()).item()
    assert found == pytest.approx(expected, rel=1e-5)
    assert_alike(wanted, [p.grad.numpy() for p in model.parameters()])


def test_results_have_derivatives_outside():
    model = network()
    forward = compiled(model)
    x, y = batch()
    x.requires_grad = True
    wanted = []
    for function in (model, forward, forward):
        nn.cross_entropy(function(x), y).backward()
        wanted.append([p.grad.numpy() for p in (*model.parameters(), x)])
        model.zero_grad()
        x.grad = None
    assert_alike(wanted[0], wanted[1])
    assert_alike(wanted[0], wanted[2])
    assert forward.traces == 1
    with cr.no_grad():
        assert not forward(x).requires_grad
    assert forward.traces == 2


def test_derivatives_of_results_are_of_the_mask_that_was_drawn():
    drop = nn.Dropout(0.5)
    forward = compiled(lambda x: (drop(x), x * 2))
    x = cr.ones((20,))
    x.requires_grad = True
    y, z = forward(x)
    (y.sum() + z.sum()).backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy() + 2)


def test_second_derivatives_of_results():
    w = nn.Parameter(cr.asarray([2.0, 3.0]))
    f = compiled(lambda x: (w * x**3).sum())
    x = cr.asarray([1.0, 2.0])
    second = cr.grad(lambda x: cr.grad(f)(x).sum())(x)
    np.testing.assert_allclose(second.numpy(), 6 * w.numpy() * x.numpy())


def test_a_stale_result_is_refused():
    w = nn.Parameter(cr.asarray([2.0]))
    y = compiled(lambda x: w * w * x)(cr.ones(1))
    w.assign(cr.ones(1))
    with pytest.raises(cr.GradientError, match="written to since"):
        y.sum().backward()


def test_results_computed_after_a_write_have_no_derivative_outside():
    w = nn.Parameter(cr.asarray([2.0]))

    def f(x):
        w.assign(x)
        return (w * x).sum()

    y = compiled(f)(cr.ones(1))
    with pytest.raises(cr.GradientError, match="written to since"):
        y.backward()


def test_running_statistics_that_a_call_writes_do_not_end_its_derivative():
    x = cr.asarray(np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32))
    results = []
    for wrap in (lambda m: m, compiled):
        cr.seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        (wrap(model)(x) ** 2).mean().backward()
        results.append([model[0].weight.grad.numpy(), model[1].running_mean.numpy(copy=True)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_gradients_of_arguments_and_named_tensors():
    x, c = cr.asarray([1.0, 2.0], requires_grad=True), cr.asarray([3.0], requires_grad=True)

    @compiled
    def f(x):
        (x * x * c).sum().backward()

    f(x)
    f(x)
    assert x.grad.tolist() == [12.0, 24.0]
    assert c.grad.tolist() == [10.0]


def test_requires_grad_inside():
    @compiled
    def f(x):
        x = x.detach()
        x.requires_grad = True
        (x**2).sum().backward()
        return x.grad

    assert f(cr.asarray([1.0, 3.0])).tolist() == [2.0, 6.0]


def test_backward_into_a_graph_outside_is_refused():
    h = cr.asarray([1.0], requires_grad=True) * 2
    with pytest.raises(cr.CompileError, match="computed outside"):
        compiled(lambda x: (h * x).sum().backward())(cr.ones(1))


# What cannot be compiled


@pytest.mark.parametrize(
    "use",
    [
        lambda t: bool(t > 0),
        float,
        int,
        lambda t: t.item(),
        lambda t: t.numpy(),
        lambda t: t.tolist(),
        np.asarray,
        lambda t: [1, 2, 3][t.astype(cr.int64)],
        lambda t: f"{t:.2f}",
        lambda t: t[t > 0] if t.ndim else t.reshape((1,))[t.reshape((1,)) > 0],
    ],
)
def test_python_cannot_look_at_values(use):
    w = nn.Parameter(cr.ones(()))
    for function in (
        lambda x: use(x * 2),
        lambda x: use(x),
        lambda x: use(w),
    ):
        with pytest.raises(cr.CompileError, match=r"needs the value of a tensor"):
            compiled(function)(cr.ones(()))
    assert state.tracer is None


def test_the_message_names_lines_and_the_way_out():
    def f(x):
        y = x.sum()
        if y > 0:
            return x
        return -x

    with pytest.raises(cr.CompileError) as caught:
        compiled(f)(cr.ones(3))
    line = f.__code__.co_firstlineno
    text = str(caught.value)
    assert f"`f` (test_compiled.py:{line + 2})" in text
    assert f"made by `greater` (test_compiled.py:{line + 2})" in text
    assert "cr.where" in text


def test_a_named_tensor_that_python_looks_at_is_a_guard():
    limit = cr.asarray(2.0)

    @compiled
    def f(x):
        return x * 2 if limit.item() > 1 else x * 3

    assert f(cr.ones(())).item() == 2.0
    limit -= 2.0
    assert f(cr.ones(())).item() == 3.0
    assert f.traces == 2


def test_attributes_set_inside_are_refused():
    class Counting(nn.Module):
        def __init__(self):
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    with pytest.raises(cr.CompileError, match=r"Counting\.calls is set"):
        compiled(Counting())(cr.ones(2))

    class Keeping(nn.Module):
        def forward(self, x):
            self.last = x * 2
            return x

    with pytest.raises(cr.CompileError, match=r"Keeping\.last is set"):
        compiled(Keeping())(cr.ones(2))


def test_plateaus_and_rates_are_refused():
    model = network()
    opt = optim.SGD(model.parameters(), lr=0.1)
    plateau, cosine = optim.ReduceLROnPlateau(opt), optim.CosineAnnealingLR(opt, 3)
    with pytest.raises(cr.CompileError, match="ReduceLROnPlateau"):
        compiled(lambda x: plateau.step(x.sum()))(cr.ones(2))
    with pytest.raises(cr.CompileError, match="get_last_lr"):
        compiled(lambda x: (x, cosine.get_last_lr()))(cr.ones(2))


def test_options_are_neither_read_nor_set_inside():
    opt = optim.SGD([nn.Parameter(cr.ones(2))], lr=0.1)
    group = opt.param_groups[0]
    with pytest.raises(cr.CompileError, match="'lr' is read"):
        compiled(lambda x: (x, group["lr"]))(cr.ones(2))
    with pytest.raises(cr.CompileError, match="'lr' is set"):
        compiled(lambda x: group.update(lr=0.5))(cr.ones(2))
    assert group["lr"] == 0.1


def test_an_optimiser_without_a_rule_says_what_to_do():
    class Mine(optim.SGD):
        rule = optim.optimizer.Optimizer.rule

    w = nn.Parameter(cr.ones(2))
    opt = Mine([w], lr=0.1)

    def f(x):
        (w * x).sum().backward()
        opt.step()

    with pytest.raises(cr.CompileError, match="Mine does not say in operations"):
        compiled(f)(cr.ones(2))


def test_errors_of_operations_keep_their_words_and_leave_nothing_behind():
    model = network()
    opt = optim.Adam(model.parameters())

    def f(x, y):
        nn.cross_entropy(model(x), y).backward()
        opt.step()
        return x @ x

    before = model.state_dict()
    with pytest.raises(cr.ShapeError, match=r"`matmul` \(test_compiled.py"):
        compiled(f)(*batch())
    assert state.tracer is None
    assert not opt.state
    assert all(p.grad is None for p in model.parameters())
    assert_alike(list(before.values()), list(model.state_dict().values()))
    assert model(batch()[0]).numpy().shape == (6, 3)


def test_leftover_tensors_are_refused_with_a_reason():
    kept = []
    compiled(lambda x: kept.append(x * 2))(cr.ones(2))
    with pytest.raises(cr.CompileError, match="left over"):
        compiled(lambda x: x + kept[0])(cr.ones(2))
    with pytest.raises(cr.ChainruleError, match="traced"):
        kept[0].numpy()


def test_printing_shows_that_it_is_traced(capsys):
    w = nn.Parameter(cr.ones(2))
    compiled(lambda x: print(x * 2, w, f"{x}"))(cr.ones(2))
    assert capsys.readouterr().out.count("traced") == 3


# The world outside


def test_nothing_traced_stays_behind():
    model = network()
    opt = optim.Adam(model.parameters())
    step = compiled(training(model, opt))
    loss = step(*batch())
    assert all(p.grad is None and p._value is not None for p in model.parameters())
    for values in opt.state.values():
        assert all(not isinstance(v, cr.Tensor) for v in values.values())
    assert not loss.requires_grad
    reference = weakref.ref(step)
    del step, loss
    gc.collect()
    assert reference() is None


def test_results_are_ones_own():
    f = compiled(lambda x: (x, x, x.T))
    x = cr.zeros((2, 3))
    a, b, c = f(x)
    with cr.no_grad():
        a += 1
    assert b.tolist() == x.tolist()
    assert c.shape == (3, 2)
    assert not np.may_share_memory(b.numpy(), x.numpy())


def test_threads_trace_and_run_at_once():
    f = compiled(lambda x: (x * 2).sum())
    failed = []

    def work(seed):
        for i in range(20):
            x = np.random.default_rng(seed * 100 + i).normal(size=i % 4 + 1)
            if abs(f(x).item() - 2 * x.sum()) > 1e-9:
                failed.append((seed, i))
            if (cr.asarray(x) + 1)._value is None:
                failed.append("traced")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
    assert f.traces == 4


def test_the_package_is_the_function():
    import chainrule.compile as package

    assert package(interpret_me, backend=interpret)(cr.ones(())).item() == 2.0
    assert callable(cr.compile)


def interpret_me(x):
    return x + 1


def test_a_profile_makes_one_call():
    w = nn.Buffer(cr.zeros(2))

    class Timed:
        def __init__(self, program):
            self.inner = interpret(program)
            self.run = self.inner.run

        def profile(self, arrays, scalars, streams):
            return len(arrays), scalars, streams

    f = compile_with(lambda x: w.assign(w + cr.random.uniform((2,)) + x), backend=Timed)
    cr.seed(4)
    assert f.profile(cr.ones(2)) == (1, [], [(4, 0)])
    after = w.numpy(copy=True)
    cr.seed(4)
    np.testing.assert_array_equal(after, (cr.random.uniform((2,)) + 1).numpy())


def test_show_needs_a_call():
    f = compiled(lambda x: x + 1)
    with pytest.raises(cr.CompileError, match="first called"):
        f.show("graph")
    f(cr.ones(2))
    assert "add" in f.show("graph")


@pytest.mark.parametrize("x", [[np.inf, 1.0], [-np.inf, -np.inf], [np.nan, 1.0], [-np.inf, 1.0]])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_what_is_not_finite_in_a_softmax(name, x):
    function = getattr(cr, name)
    x = cr.asarray(x)
    np.testing.assert_array_equal(cr.compile(function)(x).numpy(), function(x).numpy())
