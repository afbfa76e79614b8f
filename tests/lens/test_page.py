"""The page of a derivation: whole, closed in itself, and every number on it where it says it is."""

import re
from dataclasses import replace
from functools import cache
from html import escape, unescape
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn
from chainrule.lens.explain.derivation import HEIGHTS, Derivation, Section, Step, Words
from chainrule.lens.explain.written.page import notebook, page
from chainrule.lens.explain.written.page_drawing import lanes_of
from chainrule.lens.explain.written.page_math import linked, symbol
from tests.lens.networks import networks

VOID = {"meta", "input"}
INTERACTIVE = {"a", "button", "input", "summary"}


class Element:
    def __init__(self, tag, attributes, parent):
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.children = []

    def __getitem__(self, name):
        return self.attributes.get(name)

    @property
    def text(self):
        return "".join(c if isinstance(c, str) else c.text for c in self.children)

    @property
    def classes(self):
        return (self["class"] or "").split()

    def above(self):
        e = self
        while e is not None:
            yield e
            e = e.parent

    def all(self, *tags):
        for child in self.children:
            if not isinstance(child, str):
                if not tags or child.tag in tags:
                    yield child
                yield from child.all(*tags)


class Tree(HTMLParser):
    """The elements of a page; every tag that is opened must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.root = self.now = Element("", {}, None)
        self.feed(text)
        self.close()
        assert self.now is self.root, f"<{self.now.tag}> is not closed"

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), f"an attribute stands twice in <{tag}>: {attrs}"
        e = Element(tag, dict(attrs), self.now)
        self.now.children.append(e)
        if tag not in VOID:
            self.now = e

    def handle_endtag(self, tag):
        assert tag == self.now.tag, f"</{tag}> closes <{self.now.tag}>"
        self.now = self.now.parent

    def handle_data(self, data):
        self.now.children.append(data)


def tree(derivation):
    return Tree(page(derivation)).root


@cache
def drawn(name):
    derivation = networks[name]()
    return derivation, tree(derivation)


@pytest.fixture(params=list(networks))
def explained(request):
    return drawn(request.param)


def test_the_page_stands_alone(explained):
    derivation, root = explained
    text = page(derivation)
    assert not re.search(r"https?:|//\w|url\(|@import|\bsrc=", text)
    assert not list(root.all("link", "img", "iframe", "object"))
    assert text.startswith("<!doctype html>")
    assert len(text.encode()) < 3_000_000


def refers_only_to_what_is_there(root):
    ids = [e["id"] for e in root.all() if e["id"]]
    assert len(ids) == len(set(ids))
    known = set(ids)
    for e in root.all():
        href = e["href"]
        assert href is None or href[1:] in known, href
        assert e["data-of"] is None or e["data-of"] in known, e.attributes
        for words in (e["data-from"], e["data-steps"], e["data-to"], e["aria-labelledby"]):
            assert words is None or set(words.split()) <= known, words


def test_what_is_referred_to_exists_once(explained):
    refers_only_to_what_is_there(explained[1])


def test_every_step_is_there_with_what_it_takes(explained):
    derivation, root = explained
    cards = {e["data-name"]: e for e in root.all("article")}
    assert list(cards) == [step.name for step in derivation.steps] + list(derivation.given)
    for step in derivation.steps:
        text = cards[step.name].text
        assert step.title in text
        assert step.rule in text
        assert step.code in text
        assert all(str(check) in text for check in step.checks)
        assert all(note in text for note in step.notes)
        ids = {cards[name]["id"] for name in step.operands if name in cards}
        assert set(cards[step.name]["data-from"].split()) == ids


def numbers_that_are_elements(derivation, root):
    """How many there are: each is what stands at its place in the array of its quantity.

    In a formula it may stand with the other sign, as a term that is taken away does.
    """
    known = {**derivation.given, **{step.name: step.value for step in derivation.steps}}
    arrays = {e["id"]: known[e["data-name"]] for e in root.all("article")}
    seen = 0
    for e in root.all("mn", "td", "output"):
        owner = next((a for a in e.above() if a["data-of"]), None)
        if owner is None or e["data-at"] is None:
            continue
        value = np.asarray(arrays[owner["data-of"]]).reshape(-1)[int(e["data-at"])]
        shown = e.text.replace("−", "-")
        if value.dtype.kind == "f":
            error = abs(float(shown)) - abs(float(value))
            assert abs(error) <= 5.1e-4 * abs(float(value)) or not np.isfinite(value), (
                shown,
                value,
            )
            assert e.tag == "mn" or float(shown) * value >= 0
        else:  # a formula that calculates with True writes 1
            assert shown in (str(value), str(int(value)))
        seen += 1
    return seen


def test_every_number_is_the_element_that_it_is_said_to_be(explained):
    assert numbers_that_are_elements(*explained) > 10 * len(explained[0].steps)


QUESTIONS = {
    "weight": lambda: networks["mlp"]().weight("2.weight[3, 7]"),
    "neuron": lambda: networks["mlp"]().neuron("0", 3),
    "filter": lambda: networks["cnn"]().neuron("0", (1, 2, 3)),
    "probability": lambda: networks["mlp"]().probability(),
    "shapes": lambda: networks["mlp"]().shapes(),
    "attention": lambda: networks["transformer"]().attention(),
}


@pytest.mark.parametrize("question", list(QUESTIONS))
def test_an_answer_to_a_question_is_a_page_too(question):
    derivation = QUESTIONS[question]()
    root = tree(derivation)
    refers_only_to_what_is_there(root)
    assert numbers_that_are_elements(derivation, root) > 5
    (title,) = root.all("h1")
    assert title.text == derivation.title


def test_formulas_are_read_aloud(explained):
    """Each statement of a formula has its text beside its MathML."""
    derivation, root = explained
    cards = {e["data-name"]: e for e in root.all("article")}
    for step in derivation.steps:
        card = cards[step.name]
        said = "; ".join(e["alttext"] for e in card.all("math") if e["alttext"])
        words = [e.text for e in card.all("span") if "words" in e.classes]
        for writing in (step.formula, step.named, step.matrix):
            assert writing is None or writing.plain() in said or writing.plain() in words


def test_headings_are_in_order(explained):
    _, root = explained
    levels = [int(e.tag[1]) for e in root.all(*(f"h{i}" for i in range(1, 7)))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    for before, after in pairwise(levels):
        assert after <= before + 1


def test_what_can_be_used_has_a_name(explained):
    _, root = explained
    for e in root.all(*INTERACTIVE):
        labels = [a.text for a in e.above() if a.tag == "label"] if e.tag == "input" else [e.text]
        assert labels[0].strip() or e["aria-label"], e.attributes
    assert [e.tag for e in root.all("header", "nav", "main", "footer") if e.parent.tag == "body"]
    tables = list(root.all("table"))
    assert all(e["aria-label"] for e in tables)


def test_without_the_script_everything_is_shown(explained):
    """It is the script that says at which height one is, and nothing is hidden by itself."""
    _, root = explained
    heights = [e for e in root.all("input") if e["name"] == "height"]
    assert [e.parent.text for e in heights] == list(HEIGHTS)
    assert "data-height" not in next(root.all("html")).attributes
    assert all("hidden" not in e.attributes for e in root.all())


def test_the_black_box(explained):
    derivation, root = explained
    flow = next(e for e in root.all("p") if "flow" in e.classes).text
    last = derivation.recorded.result.value.item()
    assert f"L = {last:.6g}" in flow
    assert type(derivation.recorded.model).__name__ in flow


def test_a_small_network_has_a_small_page():
    assert len(page(networks["mlp"]()).encode()) < 300_000


# What fails


def test_a_step_that_fails_is_seen():
    derivation = networks["mlp"]()
    section, *rest = derivation.sections
    component, *others = section.parts
    (step,) = component.parts
    value = step.value.copy()
    value[0, 3] += 0.25
    wrong = replace(component, parts=(replace(step, value=value),))
    altered = replace(derivation, sections=(replace(section, parts=(wrong, *others)), *rest))
    root, (_, before) = tree(altered), drawn("mlp")
    (body,) = root.all("body")
    assert "refuted" in body.classes
    assert "refuted" not in next(before.all("body")).classes
    cards = [e for e in root.all("article") if "refuted" in e.classes]
    assert [e["data-name"] for e in cards] == [step.name]
    fails = [e for e in cards[0].all("li") if "fails" in e.classes]
    assert "✗ does not hold" in fails[0].text
    verdict = next(e for e in root.all("p") if "verdict" in e.classes)
    assert "✗" in verdict.text
    assert [a["href"] for a in verdict.all("a")] == [f"#{cards[0]['id']}"]
    boxes = [e for e in root.all("a", "details") if "box" in e.classes and "failed" in e.classes]
    assert [e["data-steps"] for e in boxes] == [cards[0]["id"]]


# What a user has given


EVIL = "</style></script><script>alert('1')</script><img src=x onerror=\"alert(2)\">&amp;"


def test_text_is_only_text():
    model = type(EVIL, (nn.Sequential,), {})(nn.Linear(2, 2))
    known = cr.asarray([[1.0, 2.0]])
    derivation = cr.explain(lambda x: model(x) * known, [[0.5, 1.0]], names={EVIL: known})
    step = Step(
        EVIL, f"{EVIL} = 1", EVIL, (EVIL,), EVIL, Words(EVIL), Words(EVIL), Words(EVIL),
        module=EVIL, place=EVIL, code=EVIL, notes=(EVIL,), value=np.ones(2),
    )  # fmt: skip
    part = Section(EVIL, (Section(f"{EVIL} ({EVIL})", (step,), "component", EVIL),), "part", EVIL)
    parts = (*derivation.sections, part)
    evil = replace(derivation, title=EVIL, sections=parts, summary=(EVIL,))
    text = page(evil)
    root = Tree(text).root
    assert len(list(root.all("script"))) == 1
    assert not list(root.all("img"))
    assert EVIL in root.text
    (frame,) = Tree(notebook(evil)).root.all("iframe")
    assert frame["srcdoc"] == text


def test_a_derivation_without_a_network():
    value = np.arange(6.0).reshape(2, 3)
    step = Step("y", "y = 2 x", operands=("x",), value=2 * value, formula=Words("y = 2 x"))
    text = page(Derivation("Twice", (Section("Alone", (step,)),), {"x": value}))
    root = Tree(text).root
    assert not list(root.all("nav"))
    assert "norm 14.83, from 0 to 10" in root.text
    assert tree(Derivation("Nothing"))


def test_a_derivation_that_breaks_off():
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    derivation = cr.explain(model, [[np.nan, 1.0]], [[0.0, 0.0]], loss=nn.mse_loss)
    root = tree(derivation)
    refers_only_to_what_is_there(root)
    assert "not finite" in root.text
    assert "x (1, 2) → Sequential" in root.text


def test_a_function_of_operations_is_drawn_by_them():
    root = tree(cr.explain(lambda x: cr.tanh(x * 2) + x, [0.5, 1.0]))
    (drawing,) = root.all("nav")
    names = [e.text for e in drawing.all("b")]
    assert names == ["x", "multiply", "tanh", "add"]


def test_what_a_module_keeps_is_not_drawn():
    root = tree(cr.explain(nn.BatchNorm1d(2), [[0.5, 1.0]]))
    (drawing,) = root.all("nav")
    assert [e.text for e in drawing.all("b")] == ["x", "batch_norm"]


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((0, 3)), np.array(True), np.array([np.nan, np.inf, -np.inf]), np.array(3),
        np.array([1 + 2j, 3]), np.float16([1.5, 2]), np.arange(5000).reshape(2, 1, 50, 50),
    ],
    ids=str,
)  # fmt: skip
def test_values_of_every_kind(value):
    step = Step("v", "v", value=value)
    assert tree(Derivation("Values", (Section("A", (step,)),)))


def test_names_are_linked_whole():
    known = {"z1": "s1", "z12": "s2", "0.weight": "g1", "a′": "s3", "a": "s4"}
    text = linked("z12 < z1 · 0.weight, a′ a 10.weight z1′ az1", known)
    assert re.findall(r'data-of=(\w+)>([^<]*)<', text) == [
        ("s2", "z12"), ("s1", "z1"), ("g1", "0.weight"), ("s3", "a′"), ("s4", "a"),
    ]  # fmt: skip
    assert unescape(re.sub("<.*?>", "", text)) == "z12 < z1 · 0.weight, a′ a 10.weight z1′ az1"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_symbols_keep_their_text(name):
    shown = Tree(symbol(name)).root.text
    assert shown.replace("∂", "") == re.sub("[/∂]", "", name) if "/∂" in name else shown == name


# The drawing


def test_a_residual_branch_is_drawn_beside_what_it_skips():
    _, root = drawn("transformer")
    block = next(
        e for e in root.all("details")
        if "box" in e.classes and e["data-to"] and "norm1" in e.text
        and not any("box" in c.classes and "norm1" in c.text for c in e.all("details"))
    )  # fmt: skip
    level = next(e for e in block.all("div") if "level" in e.classes)
    rows = [e for e in level.children if "row" in e.classes]
    names = [next(r.all("b")).text for r in rows]
    places = {name: i for i, name in enumerate(names)}
    assert names[1:] == ["norm1", "attention", "add", "norm2", "mlp", "add"]
    skips = {
        tuple(int(n) for n in re.search(r"grid-row:(\d+)/(\d+)", e["style"]).groups())
        for e in level.children
        if "skip" in e.classes
    }
    first_sum, second_sum = 3, len(names) - 1
    # From below the box that gives to above the box that takes.
    assert skips == {(2, 2 * first_sum + 1), (2 * first_sum + 2, 2 * second_sum + 1)}
    assert places["norm1"] == 1


edges = st.sets(
    st.tuples(st.integers(0, 8), st.integers(0, 8)).filter(lambda e: e[0] < e[1]), max_size=12
)


@given(edges)
def test_lines_in_one_lane_do_not_meet(given_edges):
    lanes = lanes_of(given_edges)
    assert set(lanes) == {e for e in given_edges if e[1] > e[0] + 1}
    for (a, b), lane in lanes.items():
        for (c, d), other in lanes.items():
            if (a, b) != (c, d) and lane == other:
                assert b <= c or d <= a


def test_the_frame_of_a_notebook_is_named():
    derivation = networks["mlp"]()
    (frame,) = Tree(notebook(derivation)).root.all("iframe")
    assert frame["title"] == derivation.title
    assert escape(page(derivation)) in notebook(derivation)
