"""The page of a run, from plain data: whole, escaped, with its numbers, whatever is missing."""

import math
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.train.metrics import Score
from chainrule.train.report import MOST_CLASSES, MOST_CONFUSED, MOST_DOTS, report_html

NAN = float("nan")
EVIL = "<script>alert('1')</script>\"&"


def epochs(n):
    return [
        {
            "epoch": i,
            "train_loss": 2.0 / i,
            "validation_loss": 2.5 / i,
            "validation_score": 1 - 1 / (i + 1),
            "learning_rate": 1e-3,
            "seconds": 0.25 * i,
        }
        for i in range(1, n + 1)
    ]


def run_of(**changed):
    says = "always saying 'ash'"
    run = {
        "title": "trees.csv: predicting kind",
        "command": "chainrule fit trees.csv --target kind",
        "data": {
            "table": "trees.csv", "rows": 1797, "train": 1258, "validation": 179, "test": 360,
            "target": "kind", "task": "classification", "features": ["height", "girth"],
            "notes": ["column 'id' is left out"],
        },
        "score": Score("accuracy", 0.98611, 0.968, 0.994, 360, 0.10278, says).to_dict(),
        "other_scores": [Score("log loss", 0.0625, 0.03, 0.11, 360, 2.3, says).to_dict()],
        "history": epochs(12),
        "best_epoch": 9,
        "stopped": "no better for 3 epochs",
        "model": {"architecture": "Sequential(\n  Linear(2, 3)\n)", "parameters": 4810},
        "settings": {"hidden": [64, 32], "dropout": 0.125, "weight_decay": None},
        "confusion": {"classes": ["ash", "oak"], "matrix": [[211, 2], [3, 144]]},
        "predicted_against_true": None,
        "versions": {"chainrule": "0.1", "numpy": "2.4"},
        "seed": 77,
        "seconds": 4.25,
    }  # fmt: skip
    for key, value in changed.items():
        old = run.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        run[key] = {**old, **value} if both else value
    return run


def real(pairs, **score):
    return run_of(
        data={"task": "regression", "target": "weight"},
        score={"name": "R²", "value": 0.875, "low": 0.8, "high": 0.9, "baseline": -0.01, **score},
        confusion=None,
        predicted_against_true=pairs,
    )


class Page(HTMLParser):
    """What a page says; it fails unless every tag is closed in order and nothing is fetched."""

    KNOWN = (
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "code", "pre", "div",
        "table", "caption", "thead", "tbody", "tr", "th", "td", "span", "ul", "li", "svg", "line",
        "text", "polyline", "circle",
    )  # fmt: skip

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.tags, self.attributes = [], "", [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs, closed=False):
        assert tag in self.KNOWN, tag
        assert not any(k.startswith("on") or k in ("src", "href") for k, _ in attrs)
        assert all("url" not in v for k, v in attrs if k == "style")
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta" and not closed:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs, closed=True)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data + " "


def test_it_says_every_number():
    page = Page(report_html(run_of()))
    said = (
        "0.9861", "0.968", "0.994", "0.1028", "always saying 'ash'", "for 355.", "0.0625",
        "trees.csv", "1797", "1258", "179", "360", "height, girth", "column 'id' is left out",
        "12 epochs in 3.0 s", "no better for 3 epochs", "epoch 9", "211", "144", "4810",
        "Linear(2, 3)", "64, 32", "0.125", "numpy 2.4", "seed 77", "4.2 s in all",
        "chainrule predict RUN TABLE", "chainrule fit trees.csv --target kind",
    )  # fmt: skip
    assert [s for s in said if s not in page.text] == []


def test_it_can_be_read_by_all():
    html = report_html(run_of())
    page = Page(html)
    assert ("lang", "en") in page.attributes
    assert ("name", "viewport") in page.attributes
    # One title is the page's: every picture has its own.
    assert page.tags.count("title") == 1 + page.tags.count("svg") == 4
    assert ("scope", "row") in page.attributes
    assert ("scope", "col") in page.attributes
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_it_needs_no_network():
    html = report_html(run_of())
    assert not any(s in html.lower() for s in ("http", "url(", "@import", "//"))


EVERYWHERE = run_of(
    title=EVIL,
    command=EVIL,
    data={"table": EVIL, "target": EVIL, "features": [EVIL], "notes": [EVIL]},
    score={"name": EVIL, "baseline_name": EVIL},
    other_scores=[Score(EVIL, 0.5, 0.4, 0.6, 360, 0.1, EVIL).to_dict()],
    stopped=EVIL,
    model={"architecture": EVIL},
    settings={EVIL: EVIL, "list": [EVIL]},
    confusion={"classes": [EVIL, "oak"]},
    versions={EVIL: EVIL},
)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("classes", [2, MOST_CLASSES + 1])
def test_what_a_user_named_is_text(task, classes):
    matrix = [[1] * classes for _ in range(classes)]
    run = {**EVERYWHERE, "data": {**EVERYWHERE["data"], "task": task}}
    run["confusion"] = {"classes": [EVIL] * classes, "matrix": matrix}
    if task == "regression":
        run |= {"confusion": None, "predicted_against_true": [[1.0, 2.0], [2.0, 1.0]]}
    html = report_html(run)
    assert "<script" not in html
    page = Page(html)
    assert page.text.count(EVIL) >= 15


@given(st.text(max_size=40))
def test_any_name_makes_a_whole_page(name):
    run = run_of(title=name, confusion={"classes": [name, "oak"]}, stopped=name)
    assert Page(report_html(run)).tags == Page(report_html(run_of())).tags


def test_a_long_name_is_cut_and_kept_whole_in_its_title():
    name = "the small-leaved lime of the northern woods"
    page = Page(report_html(run_of(confusion={"classes": [name, "oak"]})))
    assert ("title", name) in page.attributes
    assert "the small-lea…" in page.text
    assert name not in page.text


@pytest.mark.parametrize("missing", [NAN, None, math.inf])
def test_a_number_that_is_missing_is_not_drawn(missing):
    blank = {"value": missing, "low": missing, "high": missing, "baseline": missing}
    lost = [
        {**e, "train_loss": NAN, "validation_loss": missing, "validation_score": missing}
        for e in epochs(3)
    ]
    changes = [
        {"score": blank},
        {"score": {"baseline": missing}},
        {"score": {"low": missing, "high": missing}},
        {"other_scores": [{**run_of()["score"], **blank}]},
        {"history": lost, "best_epoch": 1},
        {"seconds": missing},
        {"settings": {"weight_decay": missing}},
    ]
    for change in changes:
        html = report_html(run_of(**change))
        page = Page(html)
        places = " ".join(v for k, v in page.attributes if k[0] in "xycp" and k != "class")
        words = re.findall(r"\b(nan|none|inf)\b", (page.text + places).lower())
        assert words == [], change
    assert "is not a number" in report_html(run_of(score=blank))


def test_without_validation_rows():
    bare = [{**e, "validation_loss": None, "validation_score": None} for e in epochs(5)]
    page = Page(report_html(run_of(history=bare, best_epoch=5)))
    assert "no validation rows" in page.text
    assert "validation loss" not in page.text
    assert page.text.count("training loss") == 2  # the picture's title and its line


def test_one_epoch_and_none():
    page = Page(report_html(run_of(history=epochs(1), best_epoch=1)))
    assert "1 epoch in 0.2 s" in page.text
    assert page.tags.count("circle") == 4  # the score, and each of three series as a dot
    assert "No epoch was trained" in report_html(run_of(history=[], best_epoch=0))


def test_losses_over_decades_are_drawn_by_their_logarithm():
    steep = [{**e, "train_loss": 10.0 ** -e["epoch"]} for e in epochs(5)]
    assert "logarithmic" not in report_html(run_of())
    assert "logarithmic" in report_html(run_of(history=steep))


def test_the_confusion_of_many_classes_is_the_most_frequent_pairs():
    n = MOST_CLASSES + 1
    matrix = [[100 if i == j else 0 for j in range(n)] for i in range(n)]
    for i in range(MOST_CONFUSED + 4):
        matrix[i][i + 1] = 50 - i
    page = Page(report_html(run_of(confusion={"classes": [*map(str, range(n))], "matrix": matrix})))
    assert "of 24 confusions among 31 classes" in page.text
    assert ("class", "matrix") not in page.attributes
    assert [f" {50 - i} " in page.text for i in range(24)] == [True] * 20 + [False] * 4


def test_a_score_that_is_not_above_the_baseline_is_not_praised():
    doubt = "do not show that the network is better"
    assert doubt in report_html(run_of(score={"baseline": 0.97}))
    assert doubt not in report_html(run_of(score={"baseline": 0.967}))
    worse = report_html(real([[1.0, 1.0]], value=-0.12, low=-0.2, high=0.1))
    assert "no better than their mean" in worse
    assert "explains" not in worse
    assert "explains 87.5% of what makes weight differ" in report_html(real([[1.0, 1.0]]))


def test_predicted_against_true():
    pairs = [[float(i), i + 0.5] for i in range(MOST_DOTS + 10)]
    page = Page(report_html(real(pairs)))
    assert f"one of the first {MOST_DOTS} test rows" in page.text
    assert page.tags.count("circle") == MOST_DOTS + 1  # and the score
    assert "predicted weight against true weight" in page.text
    few = Page(report_html(real([[1.0, NAN], [2.0, 2.5], [3.0, 2.5]])))
    assert few.tags.count("circle") == 3
    assert "Each dot is a test row" in few.text


def test_a_run_without_a_file():
    assert "Arrays in memory: 1797 rows" in report_html(run_of(data={"table": None}))


def test_label_smoothing_is_told():
    assert "label smoothing" not in report_html(run_of(least_loss=None))
    assert "0.325 is the least" in report_html(run_of(least_loss=0.325))
