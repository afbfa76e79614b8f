"""An interpretation as text, as a page, as data: all is in it, and nothing of it is markup."""

import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from chainrule.errors import ChainruleError, DataError
from chainrule.lens.interpret.images import grid, laid
from chainrule.lens.interpret.interpret import interpret
from chainrule.lens.interpret.interpretation import (
    Flip,
    Interpretation,
    Neighbour,
    Outside,
    Row,
    Share,
    Why,
)
from chainrule.lens.interpret.sentence import of_row, of_rows
from chainrule.lens.interpret.worth import Worth
from chainrule.lens.interpret.written import charts
from chainrule.lens.interpret.written.page import fragment, page
from chainrule.posteriors.compare import Comparison
from chainrule.posteriors.compare import Row as Compared

ODD = "<script>alert('&')</script>[bold]"


def probabilities(n, sure=1.0, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, (n, 3))
    y = (z + rng.gumbel(size=z.shape)).argmax(1)
    e = np.exp(sure * z)
    return e / e.sum(1, keepdims=True), y


def why(**options):
    pixels = np.arange(16.0).reshape(4, 4)
    given = {
        "method": "integrated-gradients", "of": f"the logit of {ODD}", "base": 0.5, "output": 2.0,
        "shares": (Share(f"colour {ODD}", "red", 1.25), Share("size", "3", -0.25)), "error": 1e-4,
        "depends": 0.2, "meaning": "what it means", "not_meaning": "what it does not mean",
        "image": (pixels, pixels - 8),
    }  # fmt: skip
    return Why(**{**given, **options})


def row(**options):
    given = {
        "row": 7, "answer": "3", "probability": 0.85, "calibrated": 0.78,
        "worth": Worth(0.85, 212, 0.79, 0.73, 0.84, 0.85, "over-confident"), "entropy": 0.43,
        "most": 2.302585, "aleatoric": 0.387, "epistemic": 0.043, "answers": ("3", "8"),
    }  # fmt: skip
    made = Row(**{**given, **options})
    return Row(**{**vars(made), "sentence": of_row(made, 0.95, 10)})


@pytest.fixture(scope="module")
def found():
    """An interpretation with everything in it."""
    p, y = probabilities(800, sure=2.5)
    made = interpret(p[:30], y=y[:30], calibration=(p, y), classes=["a", ODD, "c"])
    first = row(
        why=why(), flip=Flip(ODD, (("size", "3", ODD),), 0.5),
        neighbours=(Neighbour(41, 0.98, ODD),), outside=(Outside(ODD, "9", "0 to 1", 8.0),),
        strange=True, answer=ODD,
    )  # fmt: skip
    rows = [first, *made.rows[1:]]
    table = {**made.table, "aleatoric": [0.3] * 30, "epistemic": [0.1] * 30,
             "outside": [ODD] + [""] * 29}  # fmt: skip
    compared = Comparison((
        Compared("laplace", {"total variation": 0.02}, 0.4, 0.1, 1.5, (ODD,)),
        Compared("dropout", {}, None, None, 0.0, (), "the network has no dropout"),
        Compared("hmc", {"total variation": 0.004}, 0.38, 0.12, 60.0, ()),
    ))  # fmt: skip
    return Interpretation(
        made.sentence, rows, made.calibration, made.judged, table, 0.9, made.guarantee,
        [(ODD, 0.5), ("size", 0.25)], compared, [f"Beware of {ODD}"],
        {"subject": ODD, "note": ODD, "rows": 30, "held_out": 800, "posterior": "laplace",
         "model": f"Sequential({ODD})"},
    )  # fmt: skip


class Reader(HTMLParser):
    """Collects tags and text; a tag that is closed wrongly is noted."""

    VOID = frozenset({"meta"})
    DRAWN = frozenset({"line", "polyline"})

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
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


# Sentences


def test_the_sentence_of_the_issue():
    assert row().sentence == (
        "The network says 3, and gives it 0.850. Of 212 held-out rows given about 0.85, 0.79 were "
        "right (0.73–0.84): the network is over-confident here; calibrated, this is 0.78. Entropy "
        "0.43 of at most 2.30 nats. A tenth of the doubt would go with more data. At 5 % error the "
        "answer is 3 or 8."
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"worth": Worth(0.85, 3, None, None, None, None, "too few rows")}, "Only 3 held-out rows"),
        ({"worth": Worth(0.85, 0, None, None, None, None, "too few rows")}, "No held-out row was"),
        ({"worth": None}, "nobody knows how often such answers are right"),
        ({"answers": ()}, "no answer is left: 95 % of held-out rows were given more"),
        ({"answers": ("3",)}, "the answer is 3 alone"),
        ({"answers": tuple("0123456")}, "3 of 10 classes can be ruled out"),
        ({"answers": tuple("0123456789")}, "no class can be ruled out"),
        ({"truth": "8"}, "The truth is 8."),
        ({"probability": 0.99999}, "gives it more than 0.999"),
        ({"strange": True}, "unlike the training rows as a whole"),
    ],
)
def test_sentences(options, said):
    assert said in row(**options).sentence


def test_sentences_of_real_targets():
    given = dict.fromkeys(("probability", "calibrated", "worth", "entropy", "most", "answers"))
    given |= {"answer": "70.8047", "std": 57.51, "low": -41.7, "high": 183.2}
    assert row(**given).sentence == (
        "The answer is 70.8 ± 57.5 (one standard deviation). A tenth of the variance would go with "
        "more data. At 5 % error it lies between -41.7 and 183."
    )
    bounded = row(**{**given, "high": float("inf")}).sentence
    assert "no number can be ruled out" in bounded


def test_a_sentence_over_rows():
    rows = [row(), row(answers=("3",)), row(answers=()), row(answers=("1",), strange=True)]
    assert of_rows(rows, 0.9) == (
        "At 10 % error one answer is left in 2 of 4 rows, several in 1, none in 1. "
        "1 of 4 rows lies outside of what the network saw."
    )
    assert of_rows([row(answers=None)], 0.9) == ""


# Terminal


def test_everything_is_told(found):
    said = str(found)
    assert said.index(found.sentence) < said.index("Row 7") < said.index("The rows, the most")
    for part in (
        "Beware of", "0.85", "colour", "= red", "+1.25", "what lies between", "would be",
        "0.5 standard deviations in all", "row 41", "not ruled out", "total variation", "0.02",
        "dropout: the network has no dropout", "says   right  interval", "over-confident",
        "800 calibration rows", "and 18 more",
    ):  # fmt: skip
        assert part in said, part
    assert "\x1b" not in said


def test_the_table_begins_with_the_most_doubtful_rows(found):
    lines = str(found).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("The rows")) + 2
    said = sorted(found.table["probability"])[:12]
    assert all(f"{p:.3f}" in line for p, line in zip(said, lines[start:], strict=False))


def test_a_narrow_terminal_wraps_and_takes_brackets_as_they_are(found):
    from rich.console import Console

    console = Console(width=50, force_terminal=True, record=True, file=io.StringIO())
    console.print(found)
    shown = console.export_text()
    assert "[bold]" in shown
    sentence = shown.split("!")[0]
    assert max(map(len, sentence.splitlines())) <= 50


def test_not_enough_is_said_plainly():
    p, y = probabilities(20)
    made = interpret(p[:2], calibration=(p, y))
    for shown in (str(made), Reader(page(made)).text):
        assert "There are 20 held-out rows, and 50 are needed" in shown
        assert "too few to say what it is worth" in shown
        assert "Reliability" not in shown


# Page


def test_the_page_is_whole_and_fetches_nothing(found):
    source = page(found)
    read = Reader(source)
    assert not read.wrong
    assert not [tag for tag in read.open if tag not in ("dt", "dd")]
    assert not re.search(r"https?:|//|@import|url\(", source)
    assert not any(tag == "script" for tag, _ in read.tags)
    assert "prefers-color-scheme: dark" in source
    assert 'name="viewport"' in source
    for part in (
        ODD, found.sentence, "It means what it means. It does not mean more: what it does not mean",
        "The shares add up to 2 − 0.5 but for 0.0001.", "keep their order by 0.20", "cosine 0.980",
        "Do its probabilities mean what they say?", "recalibrated", "Whose the doubt is",
        "How many answers cannot be ruled out", "What moves its answers most",
        "Posteriors side by side", "the network has no dropout",
        "What if it answers only when it is sure?",
    ):  # fmt: skip
        assert part in read.text, part
    headings = [tag for tag, _ in read.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1"
    assert headings.count("h1") == 1
    assert source.index("role=status") < source.index("<h3") < source.index("<table")


def test_every_picture_says_what_it_shows(found):
    pictures = re.findall(r"<svg[^>]*>(?:<title>([^<]*)</title>)?", page(found))
    # The image, the shares; reliability, risk, confidence; whose doubt, set sizes, importance.
    assert len(pictures) == 8
    assert all(pictures)


def test_a_method_that_is_not_complete_claims_no_sum():
    made = Interpretation("x", [row(why=why(complete=False, image=None))], table={"row": [7]})
    for shown in (str(made), Reader(page(made)).text):
        assert "all else" not in shown
        assert "add up" not in shown
        assert "What weighs in the logit" in shown


def test_what_does_not_depend_on_the_weights_is_said_to():
    made = Interpretation("x", [row(why=why(depends=0.93))], table={"row": [7]})
    for shown in (str(made), Reader(page(made)).text):
        assert "keep their order by 0.93 (rank correlation): they say little" in shown


def test_real_targets_have_their_own_pictures():
    from chainrule.lens.interpret.calibration import real_calibration

    rng = np.random.default_rng(0)
    mean = rng.normal(size=200)
    facts = real_calibration(mean, np.full(200, 0.5), mean + 0.5 * rng.normal(size=200), 0.0)
    n = 30
    wide = rng.uniform(1, 2, n)
    rows = [row(row=i, answers=None, low=-w, high=w, probability=None, entropy=None)
            for i, w in enumerate(wide)]  # fmt: skip
    table = {"row": list(range(n)), "answer": [0.0] * n, "std": wide.tolist(),
             "low": (-wide).tolist(), "high": wide.tolist(), "aleatoric": [1.0] * n,
             "epistemic": [0.5] * n}  # fmt: skip
    made = Interpretation(facts.sentence, rows, facts, None, table)
    read = Reader(page(made))
    for part in ("Does its spread mean what it says?", "Where the targets fall", "Variances",
                 "How wide the intervals are"):  # fmt: skip
        assert part in read.text, part
    assert "level  below  interval" in str(made)
    assert "its spread means what it says" in facts.sentence


def test_points_of_the_diagram_lie_where_the_bins_are(found):
    facts = found.calibration
    drawn = charts.reliability(facts.before, None)
    circles = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)
    bins = np.flatnonzero(facts.before.count)
    assert len(circles) == len(bins)
    for (x, y), b in zip(circles, bins, strict=True):
        across = (float(x) - charts.LEFT) / (charts.WIDTH - charts.RIGHT - charts.LEFT)
        up = (charts.TALL - charts.BOTTOM - float(y)) / (charts.TALL - charts.BOTTOM - charts.TOP)
        assert across == pytest.approx(facts.before.confidence[b], abs=1e-3)
        assert up == pytest.approx(facts.before.right[b], abs=1e-3)


def test_bars_are_as_long_as_their_amounts():
    drawn = charts.bars([("a", 2.0), ("b", -1.0)], "x")
    (a, b) = re.findall(r'<rect x="([\d.]+)" y="\d[\d.]*" width="([\d.]+)"', drawn)
    assert float(a[1]) == pytest.approx(2 * float(b[1]), rel=0.01)
    assert float(b[0]) + float(b[1]) == pytest.approx(float(a[0]), abs=0.2)


# Images


def test_pixels_find_their_places():
    names = [f"r{i}c{j}" for i in range(8) for j in range(8) if (i, j) not in ((0, 0), (4, 7))]
    height, width, places = grid((62,), names)
    assert (height, width) == (8, 8)
    assert places[:3].tolist() == [1, 2, 3]
    image = laid(np.ones(62), height, width, places, 0.0)
    assert image.sum() == 62
    assert image[0, 0] == image[4, 7] == 0
    counted_from_one = [f"pixel{i}" for i in range(1, 17)]
    assert grid((16,), counted_from_one)[2].tolist() == list(range(16))


@pytest.mark.parametrize(
    "names",
    [["age", "height"], [f"x{i}" for i in range(64)], [f"r{i}c{i}" for i in range(8)],
     [f"r{i}c0" for i in range(16)]],
)  # fmt: skip
def test_other_columns_are_no_image(names):
    assert grid((len(names),), names) is None


# Files


def test_data_hold_everything(found):
    data = found.to_dict()
    text = json.dumps(data, allow_nan=False)
    assert json.loads(text) == data
    first = data["rows"][0]
    assert first["why"]["shares"][0]["amount"] == 1.25
    assert first["worth"]["rows"] == 212
    assert len(data["table"]["row"]) == 30
    assert data["calibration"]["before"]["bins"]
    assert data["judged"]["rows"] == 30
    assert data["comparison"]["rows"][2]["method"] == "hmc"


def test_saving(found, tmp_path):
    for name in ("i.html", "i.json", "i.txt"):
        assert found.save(tmp_path / name).exists()
    assert json.loads((tmp_path / "i.json").read_text())["sentence"] == found.sentence
    with pytest.raises(DataError, match=r"\.html, \.json or \.txt"):
        found.save(tmp_path / "i.pdf")
    with pytest.raises(ChainruleError, match="cannot be written"):
        found.save(tmp_path / "no" / "i.html")


def test_a_notebook_shows_the_page_in_a_frame(found):
    (tag, attributes), *_ = Reader(fragment(found)).tags
    assert tag == "iframe"
    assert attributes["srcdoc"] == page(found)
    assert attributes["title"]
    assert found._repr_html_() == fragment(found)
