"""Trials: paired, on equal budgets, within their time; and the order of findings that follows."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from chainrule import nn, optim
from chainrule.lens.diagnose import Case, Change, Finding, changes
from chainrule.lens.diagnose.diagnose import setup_of
from chainrule.lens.diagnose.diagnosis import Diagnosis
from chainrule.lens.diagnose.examine import ordered
from chainrule.lens.diagnose.frameworks.randomness import randomness_kept
from chainrule.lens.diagnose.mended import settings_after
from chainrule.lens.diagnose.training import train
from chainrule.lens.diagnose.trials.composing import composed
from chainrule.lens.diagnose.trials.randomly import families, pool, random_change
from chainrule.lens.diagnose.trials.running import NO_CHANGE, Outcome, Runner
from chainrule.lens.diagnose.trials.trial import STUDENT, Trial, gain_of, helps
from chainrule.lens.diagnose.trials.trying import try_remedies
from chainrule.lens.diagnose.yardstick import error_of, row_errors
from chainrule.tensor import generator
from chainrule.train import Settings

IDENTITY = Change("change nothing", lambda setup: setup.copied(), "", "nothing")


def blobs(seed: int = 0, n: int = 160, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    centres = np.eye(classes, 4)[rng.permutation(classes)] * 5
    return (centres[y] + rng.normal(size=(n, 4))).astype("f"), y


def case(lr: float = 0.1, epochs: int = 4, seed: int = 0, *, watched: bool = True, head=()) -> Case:
    with randomness_kept():
        generator.seed(seed)
        model = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 3), *head)
    setup = setup_of(
        model, blobs(seed), loss=nn.cross_entropy,
        optimizer=optim.SGD(model.parameters(), lr=lr), epochs=epochs, batch_size=16,
    )  # fmt: skip
    found = Case(setup)
    if watched:
        with randomness_kept():
            run = train(setup)
        found.trace, found.trained = run.trace, setup.framework.state(run.setup.model)
    return found


def finding(*remedies: Change, rule: str = "learning-rate-too-low", **rest) -> Finding:
    return Finding(rule, "optimizer", "planted", remedies=remedies, **rest)


# Runs


def test_no_change_at_seed_0_is_the_run_that_was_watched() -> None:
    watched, again = case(), case(watched=False)
    first = Runner(watched, time.perf_counter() + 60).run(NO_CHANGE, 0)
    second = Runner(again, time.perf_counter() + 60).run(NO_CHANGE, 0)
    assert np.array_equal(first.rows, second.rows)
    assert watched.trace.epochs[-1].held_out_error == pytest.approx(first.error)


def test_a_change_that_does_nothing_gains_exactly_0() -> None:
    found = finding(IDENTITY)
    (result,) = try_remedies(case(), [found], 60)
    assert result.trial.gain == result.trial.low == result.trial.high == 0.0
    assert not result.trial.helped
    assert result.trial.decided
    assert result.remedy is None
    assert "did not help" in result.trial.sentence()


def test_paired_arms_make_equally_many_steps_with_the_same_seeds_and_rows() -> None:
    at = case()
    runner = Runner(at, time.perf_counter() + 60)
    for seed in range(3):
        steps = {runner.run(c, seed).steps for c in (NO_CHANGE, changes.set_rate(0.3), IDENTITY)}
        assert steps == {at.setup.steps}
        random = random_change(runner, seed, [changes.set_rate(1.0)])
        assert runner.setup(random).epochs == at.setup.epochs
    assert np.array_equal(runner.run(IDENTITY, 1).rows, runner.run(NO_CHANGE, 1).rows)
    assert not np.array_equal(runner.run(NO_CHANGE, 1).rows, runner.run(NO_CHANGE, 0).rows)


def test_an_equal_change_of_two_findings_is_run_once() -> None:
    applied = []

    def apply(setup):
        applied.append(1)
        return changes.set_rate(0.5).apply(setup)

    shared = Change("faster", apply, "", "rate:0.5")
    try_remedies(case(lr=1e-3), [finding(shared), finding(shared, rule="too-few-steps")], 60)
    # Once for the alone trial; the combination of two equal changes is none.
    assert len(applied) == 1


def test_a_random_change_is_no_remedy_and_another_for_each_seed() -> None:
    runner = Runner(case(), time.perf_counter() + 60)
    remedies = [changes.set_rate(0.5), changes.use_optimizer("Adam")]
    drawn = [random_change(runner, seed, remedies) for seed in range(12)]
    assert not any(families(c) & {"rate", "optimizer"} for c in drawn)
    assert len({c.kind for c in drawn}) > 3
    assert random_change(runner, 3, remedies).kind == drawn[3].kind
    for change in pool(runner.case.setup):
        assert runner.setup(change) is not None


# What is left alone


def test_the_users_own_things_keep_their_bits() -> None:
    at = case(lr=1e-3)
    setup = at.setup
    before = {n: v.tobytes() for n, v in setup.framework.state(setup.model).items()}
    with randomness_kept():
        try_remedies(at, [finding(changes.set_rate(0.5), changes.use_optimizer("Adam"))], 20)
    after = {n: v.tobytes() for n, v in setup.framework.state(setup.model).items()}
    assert before == after
    assert setup.optimizer.param_groups[0]["lr"] == 1e-3
    assert not setup.optimizer.state
    assert all(p.grad is None for p in setup.model.parameters())


# Verdicts


def test_a_planted_remedy_helps_and_wins_over_a_random_change() -> None:
    won = []
    for seed in range(6):
        at = case(lr=1e-4, seed=seed)
        remedy = changes.set_rate(0.3)
        (found,) = try_remedies(at, [finding(changes.set_decay(1e-4), remedy)], 60)
        assert found.remedy.kind == remedy.kind
        won.append(found.trial.helped and found.trial.over_random > 0.15)
    assert np.mean(won) >= 0.95


def test_useless_remedies_are_not_recommended() -> None:
    wrong = 0
    for seed in range(6):
        at = case(seed=seed, epochs=8)
        (found,) = try_remedies(
            at, [finding(changes.clip_gradients(1e3), changes.set_decay(1e-7))], 60
        )
        wrong += found.trial.helped
    assert wrong == 0


def test_what_helps_only_together_is_found_together() -> None:
    class Shut(nn.Module):
        def forward(self, x):
            return x * 0.001

    at = case(lr=1e-3, head=(Shut(),), epochs=8)
    unshut = Finding("output-activation", "3", "shut", severity="error", strength=0.8,
                     remedies=(changes.remove_module("3"),))  # fmt: skip
    slow = finding(changes.set_rate(0.3), strength=0.6)
    try_remedies(at, [unshut, slow], 60)
    together = at.memo["together"]
    assert set(together.rules) == {"output-activation", "learning-rate-too-low"}
    assert together.trial.helped
    assert together.trial.error < 0.5
    for found in (unshut, slow):
        assert found.remedy is not None
        assert found.trial.helped
    diagnosis = Diagnosis([unshut, slow], together=together)
    unshut.setup = slow.setup = at.setup
    fixed = diagnosis.fixed()
    assert len(fixed.model) == 3
    assert fixed.rate == pytest.approx(0.3)
    assert "-optimizer = SGD(lr=0.001" in diagnosis.diff()
    assert "+optimizer = SGD(lr=0.3" in diagnosis.diff()


def test_a_composition_is_the_best_that_single_steps_reach() -> None:
    def part(kind: str, **rest) -> tuple[Finding, Change]:
        change = Change(kind, lambda setup: setup, "", kind)
        return finding(change, rule=kind, **rest), change

    class Known:
        """Outcomes by hand: 1 unless the table says something else."""

        def __init__(self, **errors: float) -> None:
            self.errors = errors

        def run(self, change: Change, seed: int, share: float) -> Outcome:
            key = "_".join(sorted(change.kind.replace(":", "").split(" + ")))
            return Outcome(np.full(4, self.errors.get(key, 1.0)), 1, 0.0)

        known = run

    def kinds(runner: Known, *parts: tuple[Finding, Change]) -> list[str]:
        return [change.kind for _, change in composed(runner, parts, 1.0)]

    proven = part("head:1", strength=0.99, severity="error")
    slow, fast, scale = part("rate:1"), part("rate:2"), part("scale:1")
    # One rate takes the place of the other; what adds nothing stays out.
    runner = Known(rate1=0.8, rate1_scale1=0.7, rate2_scale1=0.3)
    assert kinds(runner, slow, fast, scale) == ["rate:2", "scale:1"]
    # A contradiction is mended though that alone shows nothing, unless something else mends all.
    assert kinds(Known(head1_rate1=0.4, scale1=0.9), proven, slow, scale) == ["head:1", "rate:1"]
    assert kinds(Known(scale1=0.02), proven, slow, scale) == ["scale:1"]
    # Where no single step helps, all at once are tried, and what is not missed is left out.
    runner = Known(head1_rate1_scale1=0.2, rate1_scale1=0.2)
    assert kinds(runner, part("head:1"), slow, scale) == ["rate:1", "scale:1"]
    assert kinds(Known(), slow, scale) == []


def test_a_fault_behind_a_fault_is_found_in_the_mended_run() -> None:
    x = np.random.default_rng(0).normal(size=(200, 3)).astype("f")
    y = (300 + 100 * x[:, :1] * x[:, 1:2]).astype("f")
    with randomness_kept():
        generator.seed(0)
        model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1), nn.Sigmoid())
    setup = setup_of(
        model, (x, y), loss=nn.binary_cross_entropy,
        optimizer=optim.SGD(model.parameters(), lr=0.05), epochs=15, batch_size=16,
    )  # fmt: skip
    at = Case(setup)
    first = Finding("loss-output-mismatch", "loss", "x", severity="error", strength=0.95,
                    remedies=(changes.fit_head(setup),))  # fmt: skip
    found = try_remedies(at, [first], 60)
    assert [f.rule for f in found][:1] == ["loss-output-mismatch"]
    assert "target-scale" in [f.rule for f in found]
    together = at.memo["together"]
    assert set(together.rules) >= {"loss-output-mismatch", "target-scale"}
    assert together.trial.error < first.trial.error - 0.1
    mended = together.change.apply(setup)
    assert abs(mended.y.mean()) < 1e-4
    assert "once that is mended" in found[-1].claim


def test_a_remedy_of_a_model_that_does_not_run_is_tried() -> None:
    x, y = blobs()
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    setup = setup_of(
        model, (x, y), loss=nn.binary_cross_entropy_with_logits,
        optimizer=optim.SGD(model.parameters(), lr=0.3), epochs=10, batch_size=16,
    )  # fmt: skip
    remedy = changes.fit_head(setup.with_(task="classes"))
    broken = Finding("loss-output-mismatch", "loss", "x", severity="error", strength=0.95,
                     remedies=(changes.use_loss("cross_entropy"), remedy))  # fmt: skip
    (found,) = try_remedies(Case(setup.with_(task="classes")), [broken], 60)
    assert found.trial.helped
    assert found.trial.arms[0].errors[0] == 2.0


# Time


@pytest.mark.parametrize("budget", [1.0, 2.5])
def test_the_budget_is_kept(budget: float) -> None:
    at = case(lr=1e-3, epochs=60)
    many = [
        finding(
            changes.set_rate(0.1 * i),
            changes.set_batch_size(i),
            changes.train_longer(i),
            rule=f"r{i}",
        )
        for i in range(2, 6)
    ]
    began = time.perf_counter()
    try_remedies(at, many, budget)
    assert time.perf_counter() - began < 1.2 * budget + 0.2


def test_a_trial_that_was_too_short_decides_nothing() -> None:
    at = case(lr=0.1, epochs=40)
    found = finding(IDENTITY)
    runner = Runner(at, time.perf_counter() + 60)
    try_remedies(at, [found], 1.5 * runner.cost(NO_CHANGE))
    assert found.trial is None or not found.trial.decided
    assert found.remedy is IDENTITY
    if found.trial is not None:
        assert "undecided" in found.trial.sentence()


def test_advice_is_not_tried() -> None:
    found = finding(changes.set_rate(0.5), severity="advice")
    (result,) = try_remedies(case(), [found], 60)
    assert result.trial is None


# Intervals


def test_the_interval_is_students_over_seeds_where_rows_agree() -> None:
    before = [np.full(50, v) for v in (0.9, 0.8, 1.0)]
    after = [np.full(50, v) for v in (0.5, 0.6, 0.4)]
    gain, low, high = gain_of(before, after)
    d = [0.4, 0.2, 0.6]
    assert np.allclose(STUDENT, stats.t.ppf(0.95, np.arange(1, 6)), atol=1e-3)
    expected = stats.t.interval(0.9, 2, np.mean(d), stats.sem(d))
    assert (gain, low, high) == pytest.approx((np.mean(d), *expected), rel=1e-3)


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        rows, seeds = rng.normal(0, 0.5, 60), rng.normal(0, 0.1, (3, 1))
        d = 0.2 + seeds + rows + rng.normal(0, 0.1, (3, 60))
        _, low, high = gain_of(list(d), [np.zeros(60)] * 3)
        covered += low <= 0.2 <= high
    assert covered / 400 >= 0.86


def test_noise_is_hardly_ever_a_gain() -> None:
    rng = np.random.default_rng(1)
    said = sum(
        helps(list(rng.normal(0.5, 0.3, (3, 100))), list(rng.normal(0.5, 0.3, (3, 100))))
        for _ in range(300)
    )
    assert said / 300 < 0.05


# Order


def trial_of(before: float, after: float, *, helped: bool, decided: bool = True) -> Trial:
    from chainrule.lens.diagnose.trials.trial import Arm

    arms = (Arm("no change", (before,), (0,), 1, 0.0), Arm("x", (after,), (0,), 1, 0.0))
    gain = before - after
    return Trial(arms, gain, gain, gain, 0.0, helped, 0.0, decided=decided)


def test_causes_come_before_their_consequences_and_advice_last() -> None:
    cause = finding(rule="input-scale", strength=0.5, explains=("dead-units",))
    consequence = finding(rule="dead-units", strength=0.8, severity="error")
    advice = finding(rule="normalisation", strength=1.0, severity="advice")
    found = ordered([advice, consequence, cause])
    assert [f.rule for f in found] == ["input-scale", "dead-units", "normalisation"]
    assert [f.strength for f in ordered(found)] == [0.5, 0.8, 1.0]


def test_effects_decide_where_they_were_measured() -> None:
    weak = finding(rule="a", strength=0.5, trial=trial_of(1, 0.1, helped=True))
    strong = finding(rule="b", strength=0.8, trial=trial_of(1, 1, helped=False))
    assert [f.rule for f in ordered([strong, weak])] == ["a", "b"]
    proven = finding(rule="c", strength=0.95, severity="error", trial=trial_of(1, 1, helped=False))
    assert ordered([weak, proven])[0] is weak  # it repairs the run alone
    weak.trial = trial_of(1, 0.7, helped=True)
    assert ordered([weak, proven])[0] is proven
    # An explanation that a trial speaks against is none.
    strong.explains = ("a",)
    assert ordered([strong, weak])[0] is weak


def test_two_that_explain_each_other_are_ordered_by_strength() -> None:
    one = finding(rule="a", strength=0.5, explains=("b",))
    other = finding(rule="b", strength=0.7, explains=("a",))
    assert [f.rule for f in ordered([one, other])] == ["b", "a"]


# The yardstick


def test_the_yardstick_is_0_for_perfect_and_1_for_the_best_constant() -> None:
    y = np.array([0] * 30 + [1] * 20 + [2] * 10)
    right = np.eye(3)[y] * 40
    shares = np.bincount(y) / 60
    constant = np.tile(np.log(shares), (60, 1))
    assert error_of(right, y, "classes") == pytest.approx(0, abs=1e-9)
    assert error_of(constant, y, "classes") == pytest.approx(1)
    assert error_of(np.tile(shares, (60, 1)), np.eye(3)[y], "classes", "probabilities") == (
        pytest.approx(1)
    )
    values = np.random.default_rng(0).normal(3, 2, (60, 2))
    assert error_of(np.tile(values.mean(0), (60, 1)), values, "real") == pytest.approx(1)
    assert error_of(np.full((60, 3), np.nan), y, "classes") == 2.0


def test_the_yardstick_against_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, log_loss, r2_score

    rng = np.random.default_rng(0)
    y, scores = rng.integers(0, 4, 200), rng.normal(size=(200, 4))
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    shares = np.bincount(y) / 200
    wrong = (1 - accuracy_score(y, scores.argmax(1))) / (1 - shares.max())
    clipped = np.maximum(p, 0.01)
    loss = -np.mean(np.log(clipped[np.arange(200), y])) / -(shares @ np.log(shares))
    assert log_loss(y, p) == pytest.approx(-np.mean(np.log(p[np.arange(200), y])))
    assert error_of(scores, y, "classes") == pytest.approx((wrong + loss) / 2)
    assert row_errors(scores, y, "classes").mean() == pytest.approx((wrong + loss) / 2)
    real, said = rng.normal(size=100), rng.normal(size=100)
    assert error_of(said[:, None], real, "real") == pytest.approx(1 - r2_score(real, said))


def test_single_outputs_are_read_as_what_they_are() -> None:
    y = np.array([0, 1, 1, 0] * 10)
    p = np.where(y == 1, 0.8, 0.2)
    logit = np.log(p / (1 - p))
    as_p = error_of(p[:, None], y.astype("f")[:, None], "binary", "probabilities")
    assert as_p == pytest.approx(error_of(logit, y, "binary", "logits"))
    # A logit in [0, 1] is no probability: 0.4 says yes.
    assert error_of(np.full(40, 0.4), np.ones(40), "binary", "logits") == 0.0


def test_places_and_columns_count_as_rows() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, (10, 5, 5))
    scores = np.moveaxis(np.eye(3)[y], -1, 1) * 40
    assert error_of(scores, y, "classes") == pytest.approx(0, abs=1e-9)
    assert row_errors(scores, y, "classes").shape == (10,)
    several = rng.integers(0, 2, (30, 4)).astype("f")
    assert error_of((several - 0.5) * 80, several, "binary") == pytest.approx(0, abs=1e-9)


# Back to settings


def test_settings_follow_a_changed_setup() -> None:
    def build():
        model = nn.Sequential(
            nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.3),
            nn.Linear(16, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3),
        )  # fmt: skip
        opt = optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
        schedule = optim.OneCycleLR(opt, max_lr=2e-3, total_steps=40)
        return setup_of(model, blobs(), loss=nn.cross_entropy, optimizer=opt, schedule=schedule,
                        epochs=10, batch_size=32)  # fmt: skip

    given, settings = build(), Settings(hidden=(16, 8))

    def after(change):
        return settings_after(settings, given, change.apply(given))

    assert after(changes.set_rate(given.rate / 4)).lr == pytest.approx(5e-4)
    assert after(changes.train_longer(3)).epochs == 30
    assert after(changes.set_batch_size(8)).batch_size == 8
    assert after(changes.set_decay(1e-4)).weight_decay == 1e-4
    assert after(changes.widen("0", 2)).hidden == (32, 8)
    assert after(changes.use_activation("Tanh")).activation == "tanh"
    without = changes.combine(changes.remove_module("2"), changes.remove_module("5"))
    assert after(without).dropout == 0.0
    for change in (changes.use_optimizer("SGD"), changes.clip_gradients(1.0),
                   changes.remove_module("2"), changes.remove_module("1"),
                   changes.insert_after("0", "BatchNorm1d", 16)):  # fmt: skip
        with pytest.raises(changes.Inapplicable):
            after(change)


def test_a_diff_shows_what_was_changed_and_nothing_else() -> None:
    at = case()
    found = finding(changes.standardise_inputs())
    found.setup = at.setup
    changed = [
        line
        for line in found.diff.splitlines()
        if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    assert len(changed) == 2
    assert all("X_train" in line for line in changed)
    assert "std 1" in changed[1]


def test_outcomes_are_capped() -> None:
    at = case(lr=1e9)
    outcome = Runner(at, time.perf_counter() + 60).run(NO_CHANGE, 0)
    assert isinstance(outcome, Outcome)
    assert outcome.error <= 2.0
