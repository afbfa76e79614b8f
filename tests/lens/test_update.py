"""The update that `explain` writes out: equal to the step that is taken, checked, and red when the
optimiser does something else than its formula says."""

import dataclasses
import math

import ml_dtypes
import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.lens.explain.record import record
from chainrule.lens.explain.steps.update import update_section
from chainrule.tensor.generator import default

CASES = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"weight_decay": 0.1, "maximize": True}),
    ("Adam", {"amsgrad": True}),
    ("AdamW", {}),
    ("AdamW", {"amsgrad": True, "weight_decay": 0.0}),
    ("NAdam", {"weight_decay": 0.1}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"weight_decay": 0.1}),
    ("RAdam", {"betas": (0.8, 0.95), "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adamax", {"weight_decay": 0.1}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.1, "weight_decay": 0.1}),
    ("Adadelta", {"weight_decay": 0.1}),
    ("RMSprop", {}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "weight_decay": 0.1}),
    ("Rprop", {}),
    ("ASGD", {"t0": 2, "lambd": 0.1, "weight_decay": 0.1}),
    ("Lion", {"weight_decay": 0.1}),
    ("LAMB", {"weight_decay": 0.1}),
    ("Adafactor", {"weight_decay": 0.1}),
    ("Adafactor", {"eps": (1e-6, 1e-3), "maximize": True}),
    ("Muon", {}),
    ("Muon", {"nesterov": False, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 2}),
    ("Shampoo", {"momentum": 0.9, "weight_decay": 0.1, "update_every": 2}),
    ("Shampoo", {"max_size": 4}),
    ("LBFGS", {"max_iter": 1, "lr": 0.5}),
    ("LBFGS", {"max_iter": 1, "line_search_fn": "strong_wolfe"}),
]
NAMES = [f"{name}-{'-'.join(options)}" for name, options in CASES]
every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)

X = np.random.default_rng(0).normal(size=(5, 3))
Y = np.array([0, 1, 1, 0, 1])


def test_every_optimiser_is_here():
    classes = {n for n in optim.__all__ if isinstance(getattr(optim, n), type)}
    optimisers = {n for n in classes if issubclass(getattr(optim, n), optim.Optimizer)}
    assert {name for name, _ in CASES} == optimisers - {"Optimizer"}


def network(dtype="float32"):
    cr.seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).to(np.dtype(dtype))


def loss_of(model):
    dtype = next(iter(model.parameters())).dtype
    loss = nn.cross_entropy(model(cr.asarray(X, dtype=dtype)), cr.asarray(Y))
    loss.backward()
    return loss


def step(model, optimizer):
    if isinstance(optimizer, optim.LBFGS):
        optimizer.step(lambda: loss_of(model))
        return
    loss_of(model)
    optimizer.step()
    model.zero_grad()


def trained(name, options, dtype="float32", steps=4):
    """A network and its optimiser after some steps."""
    model = network(dtype)
    params = [p for p in model.parameters() if name != "Muon" or p.ndim == 2]
    optimizer = getattr(optim, name)(params, **options)
    for _ in range(steps):
        step(model, optimizer)
    return model, optimizer


def recorded(model):
    dtype = next(iter(model.parameters())).dtype
    return record(model, cr.asarray(X, dtype=dtype), Y, loss=nn.cross_entropy)


def steps_of(model, optimizer):
    return {s.name: s for s in update_section(recorded(model), optimizer).walk()}


@every_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("t", [1, 5])
def test_it_is_the_step_that_is_taken(name, options, dtype, t):
    model, optimizer = trained(name, options, dtype, t - 1)
    steps = steps_of(model, optimizer)
    assert all(s.verified for s in steps.values()), [s.name for s in steps.values() if s.checks]
    step(model, optimizer)
    if name == "LBFGS":
        flat = np.concatenate([p.numpy().reshape(-1) for p in model.parameters()])
        assert (steps["θ′"].value == flat).all()
        return
    saved = optimizer.state_dict()["state"]
    names = [k for k, p in model.named_parameters() if name != "Muon" or p.ndim == 2]
    for number, key in enumerate(names):
        weight = dict(model.named_parameters())[key].numpy()
        assert (steps[f"{key}′"].value.reshape(weight.shape) == weight).all()
        for running, value in saved[number].items():
            letter = optimizer.letters.get(running, running)
            if running != "step" and value.size:
                assert steps[f"{letter}′({key})"].value.reshape(value.shape) == pytest.approx(
                    value, rel=2 * float(np.finfo(dtype).eps)
                )


@every_case
def test_nothing_is_changed(name, options):
    model, optimizer = trained(name, options)
    loss_of(model)

    def everything():
        state = optimizer.state_dict()
        return repr(
            (
                {k: v.tobytes() for k, v in model.state_dict().items()},
                [None if p.grad is None else p.grad.numpy().tobytes() for p in model.parameters()],
                [p.version for p in model.parameters()],
                state,
                optimizer._waiting,
                default.state,
                model.training,
            )
        )

    before = everything()
    assert all(s.verified for s in update_section(recorded(model), optimizer).walk())
    assert everything() == before


# Alterations


def scaled(original):
    def altered(self, weight, *rest):
        before = weight.copy()
        original(self, weight, *rest)
        weight[...] = before + (weight - before) * weight.dtype.type(1.01)

    return altered


def stale(original):
    def altered(self, weight, g, arrays, *rest):
        before = [a.copy() for a in arrays]
        original(self, weight, g, arrays, *rest)
        for array, value in zip(arrays, before, strict=True):
            array[...] = value

    return altered


def blunt(original):
    def altered(self, weight, g, *rest):
        original(self, weight, g * g.dtype.type(0.97), *rest)

    return altered


def with_factor(number, change):
    def alter(original):
        def altered(self, *args):
            found = list(original(self, *args))
            found[number] = change(found[number])
            return found

        return altered

    return alter


def late(original):
    """Bias corrections, and what else counts steps, of another step."""
    return lambda self, step, group, units: original(self, step + 7, group, units)


def undecayed(original):
    return lambda self, step, group, units: original(
        self, step, {**group, "weight_decay": 0.0}, units
    )


def turned(original):
    return lambda self, g, size: original(self, g, size) * g.dtype.type(1.01)


def alterations(optimizer):
    """(method, alteration) pairs: of the update, and of every number that it computes with."""
    if isinstance(optimizer, optim.LBFGS):
        return [("_direction", turned)]
    update = "_update" if optimizer.elementwise else "_run"
    found = [(update, alter) for alter in (scaled, stale, blunt)]
    found += [("factors", late), ("factors", undecayed)]
    (group,) = optimizer.param_groups
    for number, value in enumerate(optimizer.factors(5, group, optimizer.units(group))):
        if isinstance(value, float) and value:
            found.append(("factors", with_factor(number, lambda f: f * 0.98)))
            found.append(("factors", with_factor(number, lambda f: 0.0)))
    return found


def differences(true, now):
    """By how much the new values differ, beside the bound of the check."""
    for name, old in true.items():
        if old.claims and old.claims[0].rounding:
            gap = np.max(np.abs(old.value - now[name].value), initial=0.0)
            yield name, gap, now[name].claims[0].rounding


@every_case
@pytest.mark.parametrize(("dtype", "t"), [("float64", 1), ("float32", 5)])
def test_an_altered_update_is_red(name, options, dtype, t, monkeypatch):
    cr.seed(0)
    model = nn.Sequential(nn.Linear(3, 2, bias=name == "Adafactor")).to(getattr(cr, dtype))
    optimizer = getattr(optim, name)(model.parameters(), **options)
    for _ in range(t - 1):
        step(model, optimizer)
    run, kind = recorded(model), type(optimizer)
    true = {s.name: s for s in update_section(run, optimizer).walk()}
    assert all(s.verified for s in true.values())
    changed = 0
    for method, alter in alterations(optimizer):
        with monkeypatch.context() as patch:
            patch.setattr(kind, method, alter(getattr(kind, method)))
            now = {s.name: s for s in update_section(run, optimizer).walk()}
        if all(s.verified for s in now.values()):
            assert [n for n, gap, bound in differences(true, now) if gap > bound] == []
        else:
            changed += 1
    assert changed >= (1 if name == "LBFGS" else 3)


@pytest.mark.parametrize(
    ("name", "options"), [("AdamW", {}), ("Shampoo", {}), ("LBFGS", {"max_iter": 1})]
)
def test_an_altered_number_is_red(name, options):
    for s in steps_of(*trained(name, options)).values():
        assert s.verified
        assert not dataclasses.replace(s, value=s.value + 1e-5 + s.rounding).verified, s.name
        for element in s.elements:
            instance = dataclasses.replace(element.instance, value=element.instance.value + 1e-5)
            wrong = dataclasses.replace(element, instance=instance)
            assert not dataclasses.replace(s, elements=(wrong,)).verified, s.name


# Textbooks


def numbers_of(step):
    return float(step.elements[0].instance.value)


def test_momentum_by_hand():
    """Goodfellow, Bengio, Courville, "Deep Learning", algorithm 8.2, in the form b ← μb + g."""
    model = network("float64")
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    b = 0.0
    for t in range(5):
        run = recorded(model)
        steps = {s.name: s for s in update_section(run, optimizer).walk()}
        index = (1, 2)
        w = model[0].weight.numpy()[index]
        g = run.gradients[model[0].weight._node][index]
        b = g if t == 0 else 0.9 * b + g
        assert steps["b′(0.weight)"].value[index] == pytest.approx(b, rel=1e-12)
        assert steps["0.weight′"].value[index] == pytest.approx(w - 0.1 * b, rel=1e-12)
        step(model, optimizer)


@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_by_hand(decoupled):
    """Kingma, Ba 2015, algorithm 1; Loshchilov, Hutter 2019, algorithm 2."""
    model = network("float64")
    lr, b1, b2, eps, decay = 0.01, 0.8, 0.95, 1e-6, 0.1
    kind = optim.AdamW if decoupled else optim.Adam
    optimizer = kind(model.parameters(), lr, (b1, b2), eps, decay)
    m = v = 0.0
    index = (3, 0)
    for t in range(1, 6):
        run = recorded(model)
        steps = {s.name: s for s in update_section(run, optimizer).walk()}
        w = float(model[0].weight.numpy()[index])
        g = float(run.gradients[model[0].weight._node][index])
        g = g if decoupled else g + decay * w
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        mean, square = m / (1 - b1**t), v / (1 - b2**t)
        new = w - lr * (mean / (math.sqrt(square) + eps) + (decay * w if decoupled else 0))
        found = [
            steps[k].value[index]
            for k in ("m′(0.weight)", "v′(0.weight)", "m̂(0.weight)", "v̂(0.weight)", "0.weight′")
        ]
        assert found == pytest.approx([m, v, mean, square, new], rel=1e-12)
        step(model, optimizer)


# What is written


def test_the_lines_are_those_of_the_options():
    steps = steps_of(*trained("SGD", {}))
    assert steps["0.weight′"].formula.plain() == "w′ = w − lr · g"
    assert steps["0.weight′"].named.plain() == "0.weight′ = 0.weight − lr · ∂L/∂0.weight"
    assert [n for n in steps if n.endswith("(0.weight)")] == ["Δ(0.weight)", "ratio(0.weight)"]
    steps = steps_of(*trained("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}))
    lines = [s.formula.plain() for s in steps.values()][:3]
    assert lines == [
        "g′ = g + λ · w",
        "b′ = μ · b + (1 − d) · g′",
        "w′ = w − lr · (g′ + μ · b′)",
    ]
    assert "RAdam" in steps_of(*trained("RAdam", {}))["0.weight′"].operation


def test_the_numbers_show_the_change_and_give_the_result():
    steps = steps_of(*trained("AdamW", {"lr": 1e-5}))
    line = steps["0.weight′"].numbers
    assert line.startswith("0.weight′[")
    left, right = (part.replace("−", "-") for part in line.split(" = ", 1)[1].rsplit(" = ", 1))
    written = left.replace("·", "*").replace("√", "math.sqrt").replace("^", "**")
    assert eval(written) == pytest.approx(float(right), rel=1e-6)
    instance = steps["0.weight′"].elements[0].instance
    (old,) = [datum.value for datum in instance.data if datum.name == "w"]
    assert f"{old:.{instance.digits}g}" != f"{instance.value:.{instance.digits}g}"


def test_the_element_with_the_largest_gradient_is_written_out():
    model, optimizer = trained("Adam", {})
    run = recorded(model)
    gradient = np.abs(run.gradients[model[0].weight._node])
    index = np.unravel_index(np.argmax(gradient), gradient.shape)
    for s in update_section(run, optimizer).parts[0].parts[:5]:
        assert s.elements[0].index == index


def test_length_of_the_step():
    model, optimizer = trained("Adam", {})
    steps = steps_of(model, optimizer)
    before = model[0].weight.numpy(copy=True)
    step(model, optimizer)
    length = np.linalg.norm(model[0].weight.numpy().astype(float) - before)
    assert steps["Δ(0.weight)"].value == pytest.approx(length, rel=1e-12)
    ratio = length / np.linalg.norm(before.astype(float))
    assert steps["ratio(0.weight)"].value == pytest.approx(ratio, rel=1e-12)


def test_groups_and_schedules_as_they_are_now():
    model = network("float64")
    groups = [
        {"params": model[0].parameters(), "lr": 0.5},
        {"params": model[2].parameters(), "weight_decay": 0.25},
    ]
    optimizer = optim.SGD(groups, lr=0.1)
    schedule = optim.StepLR(optimizer, step_size=1, gamma=0.1)
    step(model, optimizer)
    schedule.step()
    run = recorded(model)
    steps = {s.name: s for s in update_section(run, optimizer).walk()}
    w, g = model[0].bias.numpy(), run.gradients[model[0].bias._node]
    assert steps["0.bias′"].value == pytest.approx(w - 0.05 * g, rel=1e-12)
    w, g = model[2].bias.numpy(), run.gradients[model[2].bias._node]
    assert steps["2.bias′"].value == pytest.approx(w - 0.01 * (g + 0.25 * w), rel=1e-12)
    assert "0.05" in steps["0.bias′"].numbers


def test_parameters_that_are_left_alone():
    model = network()
    spare = nn.Parameter(cr.ones((2,)))
    model.spare = spare
    model[2].bias.requires_grad = False
    optimizer = optim.Adam([model[0].weight, model[2].bias, spare])
    steps = steps_of(model, optimizer)
    assert steps["0.bias′"].title == "0.bias is not updated: no optimiser holds it"
    assert steps["2.bias′"].title.endswith("it does not require a gradient")
    assert steps["spare′"].title.endswith("so there is no gradient")
    assert steps["0.weight′"].verified


def test_two_optimisers_share_a_model():
    model = network()
    muon = optim.Muon([p for p in model.parameters() if p.ndim == 2])
    adamw = optim.AdamW([p for p in model.parameters() if p.ndim != 2])
    found = cr.explain(model, X, Y, loss=nn.cross_entropy, optimizer=[muon, adamw])
    assert found.verified
    assert found["0.weight′"].operation == "Muon"
    assert found["0.bias′"].operation == "AdamW"


def test_an_optimiser_of_another_model():
    other = optim.SGD(network().parameters())
    with pytest.raises(cr.DataError, match=r"holds no parameter .* parameters: 0\.weight, 0\.bias"):
        cr.explain(network(), X, Y, loss=nn.cross_entropy, optimizer=other)
    with pytest.raises(cr.DTypeError, match=r"takes an optimiser of chainrule\.optim, not str"):
        cr.explain(network(), X, Y, loss=nn.cross_entropy, optimizer="adam")
    model = network()
    with pytest.raises(cr.ChainruleError, match="loss= and a target"):
        cr.explain(model, X, optimizer=optim.SGD(model.parameters()))


def test_where_the_pass_broke_there_is_no_step():
    model = network()
    broken = X.copy()
    broken[0, 0] = np.nan
    optimizer = optim.SGD(model.parameters())
    found = cr.explain(model, broken, Y, loss=nn.cross_entropy, optimizer=optimizer)
    assert found.sections[-1].parts[0].notes == ("the forward pass gives no finite number",)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Lion", "LAMB"])
def test_an_infinite_gradient_is_followed(name):
    w = nn.Parameter(cr.asarray([0.0, 4.0]))
    optimizer = getattr(optim, name)([w], lr=0.1)
    run = record(lambda x: (cr.sqrt(w) * x).sum(), cr.ones(2), names={"w": w})
    steps = {s.name: s for s in update_section(run, optimizer).walk()}
    assert [s.name for s in steps.values() if not s.verified] == []
    cr.sqrt(w).sum().backward()
    optimizer.step()
    assert np.array_equal(steps["w′"].value, w.numpy(), equal_nan=True)


class Formulated(optim.Optimizer):
    formula = "m′ = beta·m + (1 − beta)·g; w′ = w − lr·sign(m′)"

    def __init__(self, params, lr=1e-2, beta=0.9):
        super().__init__(params, {"lr": lr, "beta": beta})

    def running(self, group):
        return ("m",)

    def factors(self, step, group, units):
        return group["lr"], group["beta"], 1 - group["beta"]

    def rule(self, w, g, running, factors, group):
        lr, beta, new = factors
        m = running[0] * beta + g * new
        return w - cr.sign(m) * lr, [m]


class InWords(Formulated):
    formula = "w goes against the sign of the mean"


class Wrong(Formulated):
    def rule(self, w, g, running, factors, group):
        lr, beta, new = factors
        m = running[0] * beta + g * new
        return w - m * lr, [m]


def test_an_optimiser_of_ones_own():
    for kind, good in ((Formulated, True), (InWords, True), (Wrong, False)):
        model = network()
        steps = steps_of(model, kind(model.parameters()))
        assert steps["0.weight′"].verified is good
        assert steps["m′(0.weight)"].verified
    assert steps_of(model, InWords(model.parameters()))["0.weight′"].notes


@pytest.mark.parametrize("name", ["SGD", "Adam", "Rprop", "RMSprop"])
def test_complex_parameters_are_pairs_of_real_ones(name):
    w = nn.Parameter(cr.asarray([1 + 2j, -0.5j, 3.0]))
    optimizer = getattr(optim, name)([w], lr=0.1)
    run = record(lambda x: (abs(w) * x).sum(), cr.ones(3), names={"w": w})
    steps = {s.name: s for s in update_section(run, optimizer).walk()}
    assert all(s.verified for s in steps.values())
    abs(w).sum().backward()
    optimizer.step()
    pairs = w.numpy().view(np.float32).reshape(3, 2)
    assert (steps["w′"].value == pairs).all()


@pytest.mark.parametrize("name", ["AdamW", "Adafactor", "Shampoo", "LAMB", "Lion"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 1, 3), (1, 1), (2, 2, 2, 2)])
def test_parameters_of_every_rank(name, shape):
    cr.seed(1)
    w = nn.Parameter(cr.random.normal(shape))
    optimizer = getattr(optim, name)([w])
    for _ in range(2):
        run = record(lambda x: (cr.sin(w) * x).sum(), cr.ones(()), names={"w": w})
        assert all(s.verified for s in update_section(run, optimizer).walk())
        cr.sin(w).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["SGD", "AdamW", "Lion"])
def test_half_precision(name, dtype):
    model = network(getattr(ml_dtypes, dtype, dtype))
    optimizer = getattr(optim, name)(model.parameters(), lr=0.01)
    steps = steps_of(model, optimizer)
    assert [s.name for s in steps.values() if not s.verified] == []


def test_weights_of_zero_and_without_elements():
    zero, empty = nn.Parameter(cr.zeros(2)), nn.Parameter(cr.zeros((0,)))
    optimizer = optim.SGD([zero, empty], lr=0.1)
    run = record(
        lambda x: ((zero + 1) * x).sum() + empty.sum(), cr.ones(2), names={"a": zero, "b": empty}
    )
    steps = {s.name: s for s in update_section(run, optimizer).walk()}
    assert steps["a′"].value == pytest.approx(-0.1)
    assert "ratio(a)" not in steps
    assert steps["b′"].title == "b has no elements"


def test_parameters_of_a_function():
    a, b = nn.Parameter(cr.ones(2)), nn.Parameter(cr.ones(2))
    optimizer = optim.SGD([a, b], lr=0.1)
    run = record(lambda x: (a * x - b).sum(), cr.ones(2))
    steps = {s.name: s for s in update_section(run, optimizer).walk()}
    assert steps["p0′"].value == pytest.approx(0.9)
    assert steps["p1′"].value == pytest.approx(1.1)


def test_the_whole_explanation():
    model, optimizer = trained("AdamW", {})
    found = cr.explain(model, X, Y, loss=nn.cross_entropy, optimizer=optimizer)
    assert found.verified, found.verdict()
    assert found.sections[-1].title == "Update"
    assert "0.weight′" in str(found)
