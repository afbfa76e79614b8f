"""A diagnosis as text, as a page, as data: everything is in it, and nothing of it is markup."""

import importlib.util
import io
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from chainrule.errors import ChainruleError, DataError
from chainrule.lens.diagnose import Change, Diagnosis, Finding, Measured
from chainrule.lens.diagnose.advice import Advice, Choice, WidthCurve
from chainrule.lens.diagnose.measure.slopes import Slope
from chainrule.lens.diagnose.trace import (
    EpochSample,
    Event,
    LayerSample,
    ParameterSample,
    Sample,
    Trace,
)
from chainrule.lens.diagnose.trials.trial import Arm, Trial
from chainrule.lens.diagnose.written import charts, comparisons
from chainrule.lens.diagnose.written.data import plain, revived
from chainrule.lens.diagnose.written.page import fragment, page

ODD = "<script>alert('&')</script>[bold]"


def layer(scale, zero=0.25):
    return LayerSample(
        0.5 * scale, scale, 0.0, scale, zero, 0.0, 0.75, 2.0, 0.1, [3, 5, 2], (0.0, scale)
    )


def trace(losses=(2.3, 1.5, float("nan")), layers=("0", "2")):
    samples = [
        Sample(
            step, 2.0, 0.1, 32,
            {f"{p}.weight": ParameterSample(0.1, 10.0 ** (-3 * (2 - i)), 1e-4, descent=-1.0)
             for i, p in enumerate(layers)},
            {p: layer(1.0 + step) for p in layers},
        )
        for step in (0, 1, 2)
    ]  # fmt: skip
    return Trace(
        np.array(losses, np.float32),
        samples,
        [EpochSample(0, 0, 2.3, 2.3, 1.0, 1.0), EpochSample(1, 3, 1.5, 1.6, 0.5, 0.6)],
        [Event(2, "non-finite", "loss", "loss nan", {"error": ValueError("x")})],
        32, 1, 1.0, 0.1,
        {p: {"weight": f"{p}.weight", "activation": "relu"} for p in layers},
    )  # fmt: skip


def diagnosis(where="0", **options):
    remedy = Change("set the learning rate to 0.01", lambda setup: setup, "lr=0.01", "rate:0.01")
    arms = (
        Arm("no change", (0.9, 1.0), (0, 1), 5, 1.0),
        Arm("random change: batch 64", (0.9, 0.8), (0, 1), 5, 1.0),
        Arm(remedy.title, (0.1, 0.2), (0, 1), 5, 1.0),
    )
    first = Finding(
        "learning-rate-too-high", where, f"The rate is 10 times too high {ODD}",
        [Measured("critical rate", 0.05, "above lr", "along the update"),
         Measured("loss", float("inf"), ODD)],
        "η > 2/λ", "error", 0.9, [remedy],
        Trial(arms, 0.8, 0.6, 0.9, 0.7, True, 3.0), chosen=remedy,
    )  # fmt: skip
    tried = Finding("batch-size", "data", "The batch is small", severity="advice",
                    remedies=[Change("set the batch size to 64", lambda s: s)],
                    trial=Trial(arms[:2], 0.0, -0.1, 0.1, 0.0, False, 1.0))  # fmt: skip
    given = {
        "findings": [first, tried],
        "looked_at": [("overfit", "held-out loss"), ("dead-units", "units")],
        "not_looked_at": [("ntk", "the time was over")],
        "trace": trace(),
        "seconds": {"run": 1.0, "measuring": 0.1, "rules": 0.2, "trials": 4.0},
        "budget": 30.0,
        "about": {
            "framework": "chainrule", "model": f"Sequential(\n  {ODD}\n)", "parameters": 2410,
            "optimizer": "SGD(lr=0.5)", "loss": "cross_entropy", "task": "classes", "rows": 96,
            "held_out": 32, "columns": [], "epochs": 1, "batch_size": 32, "steps": 3,
            "steps_asked": 3, "chance": math.log(10), "floor": 0.0,
        },
        "slopes": [Slope("0", "2", -3.9, -1.1, -2.8)],
    }  # fmt: skip
    return Diagnosis(**{**given, **options})


HEALTHY = Diagnosis(
    looked_at=[("overfit", "held-out loss"), ("dead-units", "units that give 0")],
    seconds={"run": 1.0, "measuring": 0.1, "rules": 0.2, "trials": 0.0},
)


class Reader(HTMLParser):
    """Collects tags and text; a tag that is closed wrongly is noted."""

    VOID = frozenset({"meta", "line", "rect", "circle", "polyline", "polygon"})
    OPTIONAL = frozenset({"dt", "dd"})

    def __init__(self, source):
        super().__init__()
        self.open, self.wrong, self.tags, self.words = [], [], [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in self.VOID:  # a circle with a title in it
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_a_finding_is_told_whole():
    said = str(diagnosis())
    for part in (
        "learning-rate-too-high at model[0] (error)",
        "The rate is 10 times too high",
        "critical rate: 0.05  (expected above lr; along the update)",
        "η > 2/λ",
        "set the learning rate to 0.01",
        "lr=0.01",
        "held-out error",
        "it helped",
        "2,410 parameters",
        "96 to train on, 32 held out",
        "2.303",
        "since the time was over: ntk",
        "trials 4.0 of at most 30 s",
    ):
        assert part in said, part


def test_a_remedy_without_gain_is_not_recommended_but_told():
    said = str(diagnosis())
    assert "none recommended: tried without gain: set the batch size to 64" in said


def test_healthy_says_so_lists_what_was_looked_at_and_stops():
    lines = str(HEALTHY).splitlines()
    assert "Nothing found." in lines
    assert "  overfit: held-out loss" in lines
    assert lines[-1].startswith("1.0 s for the run")
    assert HEALTHY.healthy


def test_advice_alone_is_healthy():
    found = diagnosis(findings=[Finding("batch-size", "data", "small", severity="advice")])
    assert found.healthy
    assert found.verdict() == "Nothing found that is wrong; 1 piece of advice."
    assert diagnosis().verdict() == (
        "1 error, 1 piece of advice. First: learning-rate-too-high at model[0]."
    )


def test_a_terminal_wraps_and_takes_brackets_as_they_are():
    from rich.console import Console

    console = Console(width=60, force_terminal=True, record=True, file=io.StringIO())
    console.print(diagnosis())
    shown = console.export_text()
    assert "[bold]" in shown
    assert max(map(len, shown.splitlines())) <= 60


def test_the_page_is_whole_and_fetches_nothing():
    source = page(diagnosis())
    read = Reader(source)
    assert not read.wrong
    assert not read.open
    assert not re.search(r"https?:|//|@import|url\(", source)
    assert not any(tag == "script" for tag, _ in read.tags)
    for part in ("learning-rate-too-high", "critical rate", "η > 2/λ", "lr=0.01", "it helped",
                 "tried without gain", "∞", ODD):  # fmt: skip
        assert part in read.text, part
    headings = [tag for tag, _ in read.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1"
    assert headings.count("h1") == 1


def test_every_picture_says_what_it_shows():
    source = page(diagnosis())
    pictures = re.findall(r"<svg[^>]*>(?:<title>([^<]*)</title>)?", source)
    assert len(pictures) == 4 + 2 + 2  # loss, gradients, slopes, updates; two layers; two trials
    assert all(pictures)
    assert source.count('role="img"') == len(pictures)
    assert "non-finite at step 2" in source
    assert "a constant answer" in source


def test_numbers_of_the_pictures_are_those_of_the_trace():
    found = trace()
    drawn = charts.gradients(found)
    # 10⁻⁶ and 10⁻³ for the first and the last layer.
    assert "0.weight at step 0: 10^-6.0" in drawn
    assert "2.weight at step 2: 10^-3.0" in drawn
    # The update of 1e-4 against weights of 0.1 lies at a thousandth, the middle of the band.
    y = [float(v) for v in re.findall(r"<polyline points=\"[\d.]+,([\d.]+)", charts.updates(found))]
    top, high = map(float, re.findall(r'y="([\d.]+)" height="([\d.]+)"', charts.updates(found))[0])
    assert y == pytest.approx([top + high / 2] * 2, abs=0.2)


def test_the_parts_of_a_slope_end_where_they_sum_to():
    drawn = charts.slopes([Slope("0", "2", -3.9, -1.1, -2.8)])
    weights, activation, _ = re.findall(r'<rect x="([\d.]+)" y="\d+" width="([\d.]+)"', drawn)
    (mark,) = re.findall(
        r'<line x1="([\d.]+)" x2="[\d.]+" y1="\d+" y2="\d+" stroke="var\(--ink', drawn
    )
    # Bars run to the left, the activation's from where the weights' ends, to the measured slope.
    assert float(activation[0]) + float(activation[1]) == pytest.approx(float(weights[0]), abs=0.2)
    assert float(activation[0]) == pytest.approx(float(mark), abs=0.2)
    assert charts.slopes([]) == ""


def test_a_run_of_which_nothing_is_known_draws_nothing():
    assert list(charts.pictures(Trace(), None)) == []
    nothing_finite = Trace(np.array([np.nan, np.inf], np.float32))
    assert list(charts.pictures(nothing_finite, None)) == []


@pytest.mark.parametrize("layers", [("0",), tuple(map(str, range(60)))])
def test_shallow_and_deep_networks_are_drawn(layers):
    read = Reader(page(diagnosis(trace=trace(layers=layers))))
    assert not read.wrong
    assert len(re.findall("<svg", charts.activations(trace(layers=layers)))) <= charts.MOST_LAYERS


def test_a_losses_picture_of_a_long_run_stays_small():
    long = trace(losses=tuple(np.linspace(5, 1, 100_000)))
    assert len(charts.loss(long, 2.3)) < 20_000


def test_data_and_back():
    found = diagnosis()
    data = found.to_dict()
    text = json.dumps(data, allow_nan=False)
    again = Diagnosis.from_dict(json.loads(text))
    assert again.to_dict() == data
    assert again.findings[0].evidence[1].value == math.inf
    assert math.isnan(again.trace.losses[2])
    assert again.trace.samples[1].layers["2"].edges == (0.0, 2.0)
    assert str(again) == str(found)
    assert page(again) == page(found)


def test_what_was_read_from_a_file_cannot_be_applied_and_says_so():
    again = Diagnosis.from_dict(diagnosis().to_dict())
    with pytest.raises(ChainruleError, match="read from a file"):
        again.findings[0].remedy.apply(None)


@pytest.mark.parametrize("wrong", [{}, {"findings": 3}, [], {"findings": [{}]}])
def test_data_of_something_else_are_refused(wrong):
    with pytest.raises(DataError, match="to_dict"):
        Diagnosis.from_dict(wrong)


def test_plain_and_revived_are_inverse():
    sample = trace().samples[0]
    assert revived(Sample, plain(sample)) == sample
    assert plain({1: (np.int64(3), -math.inf, {"a"})}) == {"1": [3, "-Infinity", ["a"]]}


def test_saving(tmp_path):
    found = diagnosis()
    for name in ("d.html", "d.json", "d.txt"):
        assert found.save(tmp_path / name).exists()
    assert json.loads((tmp_path / "d.json").read_text())["healthy"] is False
    with pytest.raises(DataError, match=r"\.html, \.json, \.txt"):
        found.save(tmp_path / "d.pdf")
    with pytest.raises(DataError, match="cannot be written"):
        found.save(tmp_path / "no" / "d.html")


def test_a_notebook_shows_the_page_in_a_frame():
    read = Reader(fragment(diagnosis()))
    (tag, attributes), *_ = read.tags
    assert tag == "iframe"
    assert attributes["srcdoc"] == page(diagnosis())
    assert attributes["title"]


def test_a_rule_is_found_by_name():
    found = diagnosis()
    assert found["batch-size"].where == "data"
    with pytest.raises(KeyError, match="learning-rate-too-high, batch-size"):
        found["overfit"]


def test_importing_the_library_does_not_import_diagnose():
    code = "import sys, chainrule; sys.exit('chainrule.lens.diagnose' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_advice_is_shown_and_drawn_and_read_back():
    choice = Choice("neurons", "0", "widen 0 to 128", "from the first weights",
                    (0.5, 0.6), (0.1, 0.2), 640)  # fmt: skip
    curve = WidthCurve("0", (16, 64, 256), ((0.9, 0.8), (0.5, 0.6), (0.3, 0.2)), 64,
                       0.1, 4.0, 0.5, (0.3, 0.7), 0.15, (0.1, 0.2))  # fmt: skip
    advice = Advice([choice], [curve], ["0 gains by more neurons"], [("depth", "no time")],
                    (0.5, 0.6), 5, 20, 3.0, 60.0)  # fmt: skip
    found = diagnosis(advice=advice)
    for shown in (str(found), Reader(page(found)).text):
        assert "0 gains by more neurons" in shown
        assert "widen 0 to 128" in shown
        assert "helps" in shown
    drawn = comparisons.width_curve(curve)
    assert "64 (now)" in drawn
    assert drawn.count("<circle") == 6
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    again = Diagnosis.from_dict(data)
    assert again.to_dict() == data
    assert again.advice == advice


def test_advice_needs_a_run():
    with pytest.raises(ChainruleError, match="no run"):
        HEALTHY.advise()


def test_the_table_of_rules_in_the_docs_is_the_rules():
    path = Path(__file__).parents[3] / "tools" / "diagnose_page.py"
    spec = importlib.util.spec_from_file_location("diagnose_page", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = tool.PAGE.read_text(encoding="utf-8")
    assert tool.written(page) == page, "write it with `make docs-diagnose`"
    assert "| `double-softmax` |" in page
