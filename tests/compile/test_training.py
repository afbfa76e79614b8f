"""Compiled training against eager training: step by step from identical state, and as a whole.

Also: the same bits on one thread and on two, from run to run, in another process, and from the
cache on disk; and what a wrong label leaves behind.
"""

import contextlib
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule import nn, optim
from chainrule.compile.pool import get_num_threads, set_num_threads
from chainrule.errors import BoundsError
from chainrule.tensor.generator import default


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    """Object code of this run alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def parts(x, count):
    size = x.shape[-1] // count
    return [x[..., i * size : (i + 1) * size] for i in range(count)]


class Block(nn.Module):
    """A transformer of one layer that tells the next of a few letters."""

    def __init__(self, letters=11, width=16, tokens=8):
        super().__init__()
        self.embed, self.places = nn.Embedding(letters, width), nn.Embedding(tokens, width)
        self.norm, self.last = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, letters)

    def forward(self, x):
        n, t = x.shape
        h = self.embed(x) + self.places(cr.arange(t))
        q, k, v = (
            p.reshape((n, t, 2, -1)).permute((0, 2, 1, 3)) for p in parts(self.mix(self.norm(h)), 3)
        )
        y = nn.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.out(y.permute((0, 2, 1, 3)).reshape((n, t, -1)))
        h = h + self.narrow(nn.gelu(self.wide(self.last(h))))
        return self.head(h).reshape((n * t, -1))


def mlp():
    first = nn.Linear(6, 20, bias=False), nn.BatchNorm1d(20), nn.ReLU(), nn.Dropout(0.2)
    return nn.Sequential(*first, nn.Linear(20, 18), nn.Tanh(), nn.Linear(18, 3))


def cnn():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3))  # fmt: skip


def batch(name, number, dtype):
    rng = np.random.default_rng(number)
    if name == "transformer":
        x = rng.integers(0, 11, (4, 8))
        return cr.asarray(x), cr.asarray(((x + np.roll(x, 1, 1)) % 11).reshape(-1))
    x = rng.standard_normal((8, 6) if name == "mlp" else (8, 1, 8, 8))
    y = (np.abs(x).reshape(8, -1).sum(1) * 3).astype(np.int64) % 3
    return cr.asarray(x.astype(dtype)), cr.asarray(y)


# A bias before a BatchNorm, or of keys, has a gradient of 0: Adam would scale its rounding up.
MODELS = {"mlp": mlp, "cnn": cnn, "transformer": Block}


def setting(name, seed=0, dtype=np.float32):
    """(model, optimiser, one step of training) with all that a step may have in it."""
    cr.seed(seed)
    model = MODELS[name]()
    if dtype == np.float64:
        model.to(cr.float64)
    opt = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = optim.CosineAnnealingLR(opt, 1200)

    def step(x, y):
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        schedule.step()
        return loss

    step.schedule = schedule
    return model, opt, step


def states(model, opt):
    saved = opt.state_dict()["state"]
    running = [np.array(v) for p in saved.values() for v in p.values()]
    return [np.array(v) for v in model.state_dict().values()], running


def everything(model, opt):
    cells, running = states(model, opt)
    return [*cells, *running]


class Snapshot:
    """All that a step changes, to be put back where it was: no array moves."""

    def __init__(self, model, opt, schedule):
        self.cells = [(c, c.numpy().copy()) for c in (*model.parameters(), *model.buffers())]
        self.running = [
            (array, array.copy())
            for values in opt.state.values()
            for array in values.values()
            if isinstance(array, np.ndarray)
        ]
        self.numbers = [
            (holder, {k: v for k, v in holder.items() if isinstance(v, (int, float))})
            for values in opt.state.values()
            for holder in (values, values["units"])
        ]
        self.schedule, self.epoch, self.drawn = schedule, schedule.last_epoch, default.state
        self.groups = [(g, g["lr"]) for g in opt.param_groups]

    def restore(self):
        for cell, value in self.cells:
            cell.assign(value)
        for array, value in self.running:
            np.copyto(array, value)
        for holder, values in self.numbers:
            holder.update(values)
        for group, rate in self.groups:
            group["lr"] = rate
        self.schedule.last_epoch, default.state = self.epoch, self.drawn


def near(found, wanted, scale, rate):
    """Within `rate` of the largest of the numbers that belong together, or of `scale`."""
    size = max(float(np.max(np.abs(wanted), initial=0)), scale)
    return np.max(np.abs(found - wanted), initial=0) <= rate * size


@pytest.mark.parametrize("name", MODELS)
def test_each_of_1000_steps_agrees_from_identical_state(name):
    """Where an element lies at a kink (of ReLU, of a maximum) within rounding, its derivative may
    fall to either side; that is seldom."""
    model, opt, step = setting(name)
    fast, missed = cr.compile(step), 0
    step(*batch(name, 0, np.float32))  # which makes the optimiser's state
    for i in range(1000):
        x, y = batch(name, i, np.float32)
        before = Snapshot(model, opt, step.schedule)
        wanted, ends, drawn = step(x, y).item(), states(model, opt), default.state
        before.restore()
        found, mine = fast(x, y).item(), states(model, opt)
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-6)
        assert default.state == drawn
        # A step of Adam moves no weight by much more than the learning rate.
        weights = all(near(a, b, 1e-2, 5e-6) for a, b in zip(mine[0], ends[0], strict=True))
        running = all(near(a, b, 1e-7, 1e-5) for a, b in zip(mine[1], ends[1], strict=True))
        missed += not (weights and running)
    assert missed <= 3
    assert fast.traces <= 2


@pytest.mark.parametrize("name", MODELS)
def test_whole_runs_in_float64_agree(name):
    ends = []
    for wrap in (lambda f: f, cr.compile):
        model, opt, step = setting(name, dtype=np.float64)
        step = wrap(step)
        losses = [step(*batch(name, i, np.float64)).item() for i in range(200)]
        ends.append((np.array(losses), *states(model, opt)))
    np.testing.assert_allclose(ends[1][0], ends[0][0], rtol=1e-8)
    for mine, wanted in zip(ends[1][1], ends[0][1], strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-6, atol=1e-8)


def test_final_losses_have_the_same_distribution():
    """Of 24 runs each, by the two-sample test of Kolmogorov and Smirnov."""

    def final(seed, wrap):
        _, _, step = setting("mlp", seed)
        step = wrap(step)
        return np.mean(
            [step(*batch("mlp", 100 * seed + i, np.float32)).item() for i in range(40)][-8:]
        )

    eager = [final(seed, lambda f: f) for seed in range(24)]
    mine = [final(seed, cr.compile) for seed in range(50, 74)]
    assert stats.ks_2samp(eager, mine).pvalue > 0.01
    assert np.std(mine) == pytest.approx(np.std(eager), rel=1)


# The same bits


@contextlib.contextmanager
def threads(number):
    before = get_num_threads()
    set_num_threads(number)
    try:
        yield
    finally:
        set_num_threads(before)


def digest(name="wide", number=2):
    """Of everything after some compiled steps."""
    cr.seed(5)
    if name == "wide":
        model = nn.Sequential(nn.Linear(96, 300), nn.GELU(), nn.LayerNorm(300), nn.Dropout(0.1),
                              nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 10))  # fmt: skip
        rng = np.random.default_rng(0)
        given = cr.asarray(rng.standard_normal((130, 96)), dtype=cr.float32)
        batches = [(given, cr.asarray(rng.integers(0, 10, 130)))] * 5
        opt = optim.AdamW(model.parameters(), lr=1e-3)

        def step(x, y):
            loss = nn.cross_entropy(model(x), y)
            loss.backward()
            optim.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            return loss
    else:
        model, opt, step = setting(name)
        batches = [batch(name, i, np.float32) for i in range(8)]
    fast = cr.compile(step)
    with threads(number):
        losses = [fast(*b).numpy() for b in batches]
    if name == "wide":
        assert max(s.tasks for s in fast._latest().executable.plan.steps) > 1
    found = b"".join(a.tobytes() for a in (*losses, *everything(model, opt)))
    return hashlib.sha256(found).hexdigest()


@pytest.mark.parametrize("name", ["wide", *MODELS])
def test_the_same_bits_on_one_and_on_two_threads(name):
    assert digest(name, 1) == digest(name, 2) == digest(name, 2)


def test_the_same_bits_in_another_process_and_from_the_cache(tmp_path):
    told = set()
    for _ in range(2):
        for number in (1, 2):
            code = (
                f"from tests.compile.test_training import digest; print(digest('wide', {number}))"
            )
            env = {**os.environ, "CHAINRULE_CACHE": str(tmp_path)}
            told.add(subprocess.run([sys.executable, "-c", code], env=env, check=True,
                                    capture_output=True, text=True).stdout)  # fmt: skip
    assert list(tmp_path.iterdir())
    assert told == {digest("wide", 2) + "\n"}


# Wrong labels and indices


def poisoned(kind):
    """(a model, a step, good arguments, bad arguments)."""
    cr.seed(0)
    if kind == "label":
        model = nn.Sequential(nn.Linear(6, 20), nn.BatchNorm1d(20), nn.Linear(20, 3))
        x = cr.asarray(np.random.default_rng(0).standard_normal((8, 6)), dtype=cr.float32)
        good, bad = (x, cr.asarray([0, 1, 2] * 2 + [0, 1])), (x, cr.asarray([0] * 7 + [3]))
        loss = lambda x, y: nn.cross_entropy(model(x), y)  # noqa: E731
    else:
        model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2))
        good, bad = (cr.asarray([1, 2, 8]),), (cr.asarray([0, 9, 3]),)
        if kind == "negative":
            bad = (cr.asarray([0, -10, 3]),)
        loss = lambda x: (model(x) ** 2).sum()  # noqa: E731
    opt = optim.AdamW(model.parameters(), lr=1e-2)

    def step(*batch):
        found = loss(*batch)
        found.backward()
        opt.step()
        return found

    return model, opt, cr.compile(step), good, bad


@pytest.mark.parametrize("kind", ["label", "index", "negative"])
def test_a_wrong_label_leaves_everything_as_it_was(kind):
    model, opt, step, good, bad = poisoned(kind)
    step(*good)
    before = everything(model, opt)
    for _ in range(2):
        with pytest.raises(BoundsError, match="outside"):
            step(*bad)
        for a, b in zip(everything(model, opt), before, strict=True):
            np.testing.assert_array_equal(a, b)
    losses = [step(*good).item() for _ in range(3)]
    model, opt, step, good, _ = poisoned(kind)
    step(*good)
    assert [step(*good).item() for _ in range(3)] == losses
