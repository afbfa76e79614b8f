"""The benchmark of `diagnose`: its scoring obeys the laws of scoring, and its cases are what they
say. Rates are not judged here: `python -m benchmarks.diagnosis` measures them."""

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmarks.diagnosis import rates, table
from benchmarks.diagnosis.__main__ import tasks
from benchmarks.diagnosis.baselines import TOOLS
from benchmarks.diagnosis.measuring import Record, Task, differ, measure
from benchmarks.diagnosis.runs import everything
from chainrule.lens.diagnose.rules.rule import rules


def record(**given: object) -> Record:
    """A bug that costs (0.5 against 0.1), with the findings named in `said`."""
    said = given.pop("said", ())
    assert isinstance(said, tuple)
    findings = [
        {"rule": r, "where": w, "severity": s, "strength": 1.0, "claim": ""} for r, w, s in said
    ]
    plain = {"what": "bug", "label": "#1.0", "cluster": "#1", "half": "development", "seed": 0,
             "rules": ["right"], "places": ["0"], "error": 0.5, "twin_error": 0.1}  # fmt: skip
    return Record(**{**plain, **given}, findings=findings)


@pytest.mark.parametrize(("hits", "cases"), [(0, 7), (1, 3), (9, 10), (97, 100), (200, 200)])
def test_wilson_is_that_of_scipy(hits: int, cases: int) -> None:
    theirs = binomtest(hits, cases).proportion_ci(0.95, "wilson")
    assert rates.wilson(hits, cases) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_clusters_that_agree_within_widen_the_interval() -> None:
    """10 bugs of 20 equal cases are 10 witnesses: √20 times as wide as 200 independent ones."""
    hits = [bug < 7 for bug in range(10) for _ in range(20)]
    apart = rates.clustered(hits, [str(i) for i in range(200)])
    together = rates.clustered(hits, [str(i // 20) for i in range(200)])
    ratio = (together[1] - together[0]) / (apart[1] - apart[0])
    assert ratio == pytest.approx(np.sqrt(20), rel=0.15)


def test_advice_is_no_alarm_and_order_counts() -> None:
    late = record(said=(("a", "1", "advice"), ("b", "1", "warning"), ("right", "0", "error")))
    assert late.alarm
    assert not rates.first_right(late)
    assert rates.in_three(late)
    assert rates.placed(late)
    assert not record(said=(("right", "0", "advice"),)).alarm
    assert rates.first_right(record(said=(("a", "", "advice"), ("right", "", "error"))))
    fourth = tuple((r, "0", "error") for r in ("a", "b", "c", "right"))
    assert not rates.in_three(record(said=fourth))


@pytest.mark.parametrize(
    ("where", "right"), [("0", True), ("0.weight", True), ("2", False), ("2, 0", True), ("", False)]
)
def test_a_parameter_is_in_its_module(where: str, right: bool) -> None:
    assert rates.placed(record(said=(("right", where, "error"),))) is right


def test_a_bug_is_in_a_layer_where_its_twin_has_another_network() -> None:
    bugs = {bug.number: bug for bug in everything()[0]}
    for number, variant, layer in ((5, 0, True), (41, 3, True), (37, 0, False), (37, 1, True)):
        run, twin = (bugs[number].run(variant, 2, mended) for mended in (False, True))
        assert differ(run, twin, 2) is layer
    assert rates.located(record(in_network=True))
    assert not rates.located(record())
    assert not rates.located(record(in_network=True, places=["loss", "data"]))
    assert not rates.located(record(in_network=True, places=["0", "optimizer"]))


def test_regained_is_a_share_of_the_gap() -> None:
    bug = record()
    assert rates.regained(bug, 0.17)
    assert not rates.regained(bug, 0.19)
    assert not rates.regained(bug, None)
    assert not rates.regained(bug, float("nan"))


def test_a_bug_without_cost_does_not_count() -> None:
    harmless = [record(label="#2.0", error=0.11, seed=s) for s in range(3)]
    kept = table.counted([record(), *harmless])
    assert [r.label for r in kept] == ["#1.0"]
    assert len(table.verdicts([record(), *harmless])) == 1
    sick = record(what="healthy", label="sick", error=0.9, good=0.2)
    assert not table.counted([sick])


def test_same_first_counts_the_commonest() -> None:
    group = [record(seed=s, said=((r, "", "error"),)) for s, r in enumerate("aaabb")]
    assert rates.same_first(group).hits == 3


def test_failures_of_the_scored_half_are_not_told() -> None:
    missed = [record(), record(half="scored", label="#3.0")]
    (line,) = table.failures(missed)
    assert "#1.0" in line


def test_the_suite_is_what_was_asked() -> None:
    bugs, kinds = everything()
    given = set(range(1, 56, 2))
    assert {b.number for b in bugs} >= given
    scored = {3, 7, 11, 15, 19, 23, 27, 31, 35, 39, 43, 47, 51, 55, 59}
    assert {b.number for b in bugs if b.half == "scored"} == scored
    assert all(len(b.variants) >= 4 for b in bugs)
    assert len(kinds) >= 60
    assert len({k.name for k in kinds}) == len(kinds)
    assert sum(not t.number for t in tasks(None, None, 5, False)) >= 200


def test_truths_are_names_of_rules() -> None:
    known = {rule.name for rule in rules()}
    for bug in everything()[0]:
        for variant in range(len(bug.variants)):
            assert bug.rules(variant) <= known, (bug.number, bug.rules(variant) - known)


def test_cases_are_made_the_same_way_again() -> None:
    bugs, _ = everything()
    bug = next(b for b in bugs if b.number == 41)
    one, two = (bug.run(0, 3, mended=True).setup(3) for _ in range(2))
    assert np.array_equal(one.x, two.x)
    for name, value in one.framework.parameters(one.model).items():
        assert np.array_equal(value, two.framework.parameters(two.model)[name])


def test_a_bug_is_found_and_its_record_is_plain() -> None:
    found = Record(**measure(Task(0, number=5)))
    assert not found.failed
    assert rates.degrades(found)
    assert rates.first_right(found)
    assert rates.static_found(found)
    assert set(found.alarms) == set(TOOLS)
    text = table.markdown([found], "about")
    assert "| bug detected | 94 % | 97 % | – | 100.0 % (1/1;" in text


def test_a_healthy_run_is_healthy() -> None:
    found = Record(**measure(Task(0, name="easy")))
    assert not found.failed
    assert found.error <= found.good
    assert not found.alarm
