"""Lion, LAMB, Shampoo and L-BFGS against their papers' algorithms; every optimiser's state, its
compiled step, and what it refuses."""

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize

import chainrule as cr
from chainrule import nn, optim

EVERY = {
    "SGD": {"momentum": 0.9},
    "Adam": {},
    "AdamW": {"amsgrad": True},
    "NAdam": {"weight_decay": 0.1},
    "RAdam": {"betas": (0.8, 0.9)},
    "Adamax": {},
    "Adagrad": {"initial_accumulator_value": 0.1},
    "Adadelta": {},
    "RMSprop": {"centered": True, "momentum": 0.5},
    "Rprop": {},
    "ASGD": {"t0": 2},
    "Lion": {"weight_decay": 0.1},
    "LAMB": {"weight_decay": 0.1},
    "Adafactor": {},
    "Muon": {},
    "Shampoo": {"momentum": 0.9, "update_every": 2},
}
COMPILED = [name for name in EVERY if name != "Shampoo"]
ALL = {n for n in optim.__all__ if isinstance(getattr(optim, n), type)}
OPTIMISERS = {n for n in ALL if issubclass(getattr(optim, n), optim.Optimizer)}


def test_every_optimiser_is_tested_here():
    assert OPTIMISERS - {"Optimizer", "LBFGS"} == set(EVERY)


def parameter(array):
    return nn.Parameter(cr.asarray(np.asarray(array, dtype=np.float64)))


def gradients(shape, n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape))


def run(opt, p, found):
    for g in found:
        p.grad = cr.asarray(np.asarray(g, dtype=np.float64))
        opt.step()
    return p.numpy(copy=True)


def test_lion():
    start, found = gradients((3, 2), 1, 7)[0], gradients((3, 2), 12)
    p = parameter(start)
    ours = run(optim.Lion([p], lr=0.01, betas=(0.8, 0.95), weight_decay=0.3), p, found)
    w, m = start.copy(), np.zeros((3, 2))
    for g in found:
        update = np.sign(0.8 * m + (1 - 0.8) * g) + 0.3 * w
        m = 0.95 * m + (1 - 0.95) * g
        w = w - 0.01 * update
    assert ours == pytest.approx(w, rel=1e-12)


def test_lamb():
    start, found = gradients((3, 2), 1, 7)[0], gradients((3, 2), 12)
    p = parameter(start)
    ours = run(optim.LAMB([p], lr=0.01, eps=1e-4, weight_decay=0.3), p, found)
    w, m, v = start.copy(), 0.0, 0.0
    for t, g in enumerate(found, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        r = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-4) + 0.3 * w
        w = w - 0.01 * np.linalg.norm(w) / np.linalg.norm(r) * r
    assert ours == pytest.approx(w, rel=1e-12)


def test_lamb_of_a_parameter_that_is_zero():
    p = parameter(np.zeros((2, 2)))
    assert np.isfinite(run(optim.LAMB([p]), p, gradients((2, 2), 3))).all()
    p = parameter(np.ones((2, 2)))
    assert run(optim.LAMB([p]), p, np.zeros((3, 2, 2))) == pytest.approx(np.ones((2, 2)))


@pytest.mark.parametrize(
    ("shape", "rows"), [((4, 3), 4), ((4, 2, 3), 4), ((5,), 5)], ids=["matrix", "tensor", "vector"]
)
def test_shampoo(shape, rows):
    start, found = gradients(shape, 1, 7)[0], gradients(shape, 8)
    p = parameter(start)
    ours = run(optim.Shampoo([p], lr=0.1, eps=0.1, weight_decay=0.2), p, found)
    w = start.reshape(rows, -1)
    columns = w.shape[1]
    left, right = 0.1 * np.eye(rows), 0.1 * np.eye(columns)
    for g in found:
        g = g.reshape(rows, -1) + 0.2 * w
        left, right = left + g @ g.T, right + g.T @ g
        power = scipy.linalg.fractional_matrix_power
        if len(shape) == 1:
            w = w - 0.1 * power(left, -1 / 2) @ g
        else:
            w = w - 0.1 * power(left, -1 / 4) @ g @ power(right, -1 / 4)
    assert ours == pytest.approx(w.reshape(shape), rel=1e-9)


def test_shampoo_leaves_out_large_sides():
    p = parameter(gradients((6, 2), 1)[0])
    opt = optim.Shampoo([p], max_size=4, lr=0.1, eps=0.1)
    start, (g,) = p.numpy(copy=True), gradients((6, 2), 1, 3)
    right = 0.1 * np.eye(2) + g.T @ g
    wanted = start - 0.1 * g @ scipy.linalg.fractional_matrix_power(right, -1 / 2)
    assert run(opt, p, [g]) == pytest.approx(wanted, rel=1e-9)
    assert opt.state[p]["left"].size == 0


def test_muon_makes_the_step_nearly_orthogonal():
    p = parameter(np.zeros((6, 4)))
    (g,) = gradients((6, 4), 1)
    moved = run(optim.Muon([p], lr=1.0, adjust_lr_fn="match_rms_adamw"), p, [g]) / -(0.2 * 6**0.5)
    values = np.linalg.svd(moved, compute_uv=False)
    assert (values > 0.6).all()
    assert (values < 1.3).all()
    u, _, vh = np.linalg.svd(g, full_matrices=False)
    found = np.linalg.svd(moved, full_matrices=False)
    assert np.abs(np.sum((found[0] @ found[2]) * (u @ vh))) == pytest.approx(4, rel=1e-2)


# L-BFGS


def rosenbrock(p):
    loss = cr.sum(100 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2)
    loss.backward()
    return loss


@pytest.mark.parametrize("n", [2, 10])
def test_lbfgs_finds_the_minimum_of_rosenbrock(n):
    p = parameter(np.linspace(-1.2, 1.0, n))
    opt = optim.LBFGS(
        [p], max_iter=200, max_eval=1000, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )
    first = opt.step(lambda: rosenbrock(p))
    assert first == pytest.approx(scipy.optimize.rosen(np.linspace(-1.2, 1.0, n)))
    assert scipy.optimize.rosen(p.numpy()) < 1e-12
    theirs = scipy.optimize.minimize(
        scipy.optimize.rosen, np.linspace(-1.2, 1.0, n), jac=scipy.optimize.rosen_der,
        method="L-BFGS-B", options={"maxcor": 100, "ftol": 1e-20, "gtol": 1e-7},
    )  # fmt: skip
    assert p.numpy() == pytest.approx(theirs.x, abs=1e-5)
    assert opt._evaluations < 3 * theirs.nfev


def test_lbfgs_on_a_quadratic_ends_at_the_solution():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(8, 8))
    a, b = a @ a.T + np.eye(8), rng.normal(size=8)
    p = parameter(np.zeros(8))

    def closure():
        loss = 0.5 * p @ cr.asarray(a) @ p - cr.asarray(b) @ p
        loss.backward()
        return loss

    opt = optim.LBFGS([p], max_iter=100, tolerance_change=1e-15, line_search_fn="strong_wolfe")
    opt.step(closure)
    assert p.numpy() == pytest.approx(np.linalg.solve(a, b), rel=1e-5)


def test_lbfgs_goes_on_from_a_saved_state():
    def make():
        p = parameter([-1.2, 1.0])
        return p, optim.LBFGS([p], max_iter=5, line_search_fn="strong_wolfe")

    p, opt = make()
    opt.step(lambda: rosenbrock(p))
    q, again = make()
    q.assign(p)
    again.load_state_dict(opt.state_dict())
    opt.step(lambda: rosenbrock(p))
    again.step(lambda: rosenbrock(q))
    np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_lbfgs_survives_an_infinite_loss_on_the_way():
    p = parameter([3.0])

    def closure():  # the first step of length 1 would leave the domain of the logarithm
        loss = (p - 4 * cr.log(p)).sum()
        loss.backward()
        return loss

    opt = optim.LBFGS([p], lr=50.0, tolerance_change=1e-15, line_search_fn="strong_wolfe")
    opt.step(closure)
    assert p.item() == pytest.approx(4, rel=1e-5)


def test_lbfgs_refuses():
    p = parameter([1.0])
    with pytest.raises(cr.DTypeError, match="takes a function"):
        optim.LBFGS([p]).step()
    with pytest.raises(cr.GradientError, match="left no gradient"):
        optim.LBFGS([p]).step(lambda: (p * p).sum())
    with pytest.raises(cr.DTypeError, match="as one vector"):
        optim.LBFGS([{"params": [p]}, {"params": [parameter([2.0])]}])
    with pytest.raises(cr.DTypeError, match="line_search_fn"):
        optim.LBFGS([p], line_search_fn="armijo")
    bad = parameter([-1.0])

    def closure():
        loss = cr.log(bad).sum()
        loss.backward()
        return loss

    with pytest.raises(cr.NonFiniteError, match="the loss is nan"):
        optim.LBFGS([bad]).step(closure)
    with pytest.raises(cr.CheckpointError, match="not the state of an LBFGS"):
        optim.LBFGS([p]).load_state_dict(optim.Adam([p]).state_dict())


# Every optimiser


@pytest.mark.parametrize("name", EVERY)
def test_state_goes_on_to_the_same_bits(name):
    found = gradients((4, 3), 8)

    def make():
        p = parameter(gradients((4, 3), 1, 5)[0])
        return p, getattr(optim, name)([p], **EVERY[name])

    p, opt = make()
    whole = run(opt, p, found)
    p, opt = make()
    run(opt, p, found[:4])
    q, again = make()
    q.assign(p)
    again.load_state_dict(opt.state_dict())
    np.testing.assert_array_equal(run(again, q, found[4:]), whole)


@pytest.mark.parametrize("name", EVERY)
def test_a_small_parameter_alone_or_beside_others(name):
    """Small parameters are updated as one array where that is the same."""
    found = gradients((4, 3), 5)
    starts = gradients((4, 3), 3, 5)
    alone = []
    for start in starts:
        p = parameter(start)
        alone.append(run(getattr(optim, name)([p], **EVERY[name]), p, found))
    together = [parameter(start) for start in starts]
    opt = getattr(optim, name)(together, **EVERY[name])
    for g in found:
        for p in together:
            p.grad = cr.asarray(g)
        opt.step()
    for p, wanted in zip(together, alone, strict=True):
        np.testing.assert_allclose(p.numpy(), wanted, rtol=1e-14)


@pytest.mark.parametrize("name", EVERY)
def test_it_lowers_a_loss(name):
    target = gradients((6, 4), 1)[0]
    p = parameter(gradients((6, 4), 1, 9)[0])
    lr = {"Adadelta": 10.0, "Lion": 0.02, "SGD": 0.05, "Shampoo": 0.3, "Adagrad": 0.5}.get(
        name, 0.05
    )
    options = {**EVERY[name], "lr": lr}
    if "weight_decay" in options or name == "Muon":
        options["weight_decay"] = 0.0
    opt = getattr(optim, name)([p], **options)
    losses = []
    for _ in range(150):
        loss = ((p - cr.asarray(target)) ** 2).sum()
        losses.append(loss.item())
        loss.backward()
        opt.step()
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_as_eager(name):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 5)).astype(np.float32), rng.normal(size=(8, 3)).astype(np.float32)

    def make():
        cr.seed(1)
        net = nn.Sequential(nn.Linear(5, 6, bias=False), nn.Tanh(), nn.Linear(6, 3, bias=False))
        opt = getattr(optim, name)(net.parameters(), **EVERY[name])

        def step(x, y):
            loss = nn.mse_loss(net(x), y)
            loss.backward()
            opt.step()
            return loss

        return net, opt, step

    net, opt, step = make()
    other, other_opt, plain = make()
    fast = cr.compile(step)
    for i in range(8):
        if i == 5:
            opt.param_groups[0]["lr"] *= 0.5
            other_opt.param_groups[0]["lr"] *= 0.5
        np.testing.assert_allclose(fast(x, y).item(), plain(x, y).item(), rtol=1e-4)
    assert fast.traces == 1
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-3, atol=2e-4)


def test_an_option_that_shapes_the_rule_asks_for_a_new_trace():
    p = nn.Parameter(cr.ones((4, 4)))
    opt = optim.Muon([p], ns_steps=1)

    @cr.compile
    def step(x):
        loss = ((p @ x) ** 2).sum()
        loss.backward()
        opt.step()
        return loss

    step(cr.ones(4))
    opt.param_groups[0]["lr"] = 0.1
    step(cr.ones(4))
    assert step.traces == 1
    opt.param_groups[0]["ns_steps"] = 5
    step(cr.ones(4))
    assert step.traces == 2


def test_what_is_not_compiled_says_so():
    p = nn.Parameter(cr.ones((2, 2)))
    opt = optim.Shampoo([p])

    @cr.compile
    def step():
        (p * p).sum().backward()
        opt.step()

    with pytest.raises(cr.CompileError, match="Shampoo does not say in operations"):
        step()
    q = nn.Parameter(cr.ones(2, dtype=cr.complex64))
    adam = optim.Adam([q])
    q.grad = cr.ones(2, dtype=cr.complex64)
    with pytest.raises(cr.CompileError, match="complex parameter"):
        cr.compile(adam.step)()


def test_averaging_in_a_compiled_step():
    model = nn.Linear(2, 1, bias=False)
    mean = optim.AveragedModel(model, decay=0.5)
    opt = optim.SGD(model.parameters(), lr=0.1)
    seen = []

    @cr.compile
    def step(x):
        loss = model(x).sum()
        loss.backward()
        opt.step()
        mean.update_parameters(model)
        return loss

    for _ in range(4):
        step(cr.ones((1, 2)))
        seen.append(model.weight.numpy(copy=True))
    wanted = seen[0]
    for w in seen[1:]:
        wanted = 0.5 * wanted + 0.5 * w
    np.testing.assert_allclose(mean.module.weight.numpy(), wanted, rtol=1e-6)
    assert mean.n_averaged.item() == 4


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda p: optim.Muon([p]), "Muon is for matrices"),
        (lambda p: optim.Muon([parameter(np.ones((2, 2)))], ns_steps=0), "ns_steps"),
        (lambda p: optim.Rprop([p], etas=(1.2, 0.5)), "etas"),
        (lambda p: optim.Rprop([p], step_sizes=(1, 0)), "step_sizes"),
        (lambda p: optim.Adagrad([p], lr_decay=-1), "lr_decay"),
        (lambda p: optim.Adadelta([p], rho=1.5), "rho"),
        (lambda p: optim.Adafactor([p], beta2_decay=0.8), "beta2_decay"),
        (lambda p: optim.Adafactor([p], eps=1e-3), "eps"),
        (lambda p: optim.NAdam([p], momentum_decay="x"), "momentum_decay"),
        (lambda p: optim.Lion([p], betas=(1.0, 0.9)), "betas"),
        (lambda p: optim.LAMB([nn.Parameter(cr.ones(2, dtype=cr.complex64))]), "complex"),
        (lambda p: optim.Shampoo([p], update_every=0), "update_every"),
        (lambda p: optim.AveragedModel(nn.Linear(1, 1), decay=1.0), "decay"),
        (lambda p: optim.AveragedModel(p), "a model is averaged"),
        (lambda p: optim.AveragedModel(nn.ReLU()).update_parameters(nn.Linear(2, 1)), "other"),
        (lambda p: optim.CyclicLR(optim.Adagrad([p]), 0.1, 0.2), "no momentum"),
        (lambda p: optim.CyclicLR(optim.Adam([p]), 0.1, 0.2, mode="up"), "mode"),
        (lambda p: optim.ChainedScheduler([]), "at least one"),
        (lambda p: optim.SWALR(optim.Adam([p]), [0.1, 0.2]), "one for each group"),
    ],
)  # fmt: skip
def test_errors(make, text):
    with pytest.raises(cr.ChainruleError, match=text):
        make(parameter([1.0, 2.0]))
