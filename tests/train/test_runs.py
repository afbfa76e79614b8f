"""From a table to a run folder: what is split, what is learnt, what is written, what is refused."""

import os
import sqlite3
import tomllib
from contextlib import closing
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest

import chainrule as cr
from chainrule.data import read_table
from chainrule.drawing import ticks
from chainrule.train import Settings, fit_table, read_run, runs
from chainrule.train.charts import curves, interval, scatter

QUICK = Settings(hidden=(8,), epochs=5)
rng = np.random.default_rng(0)


def write(path, rows=120, target="kind", **columns):
    size = rng.normal(size=rows)
    columns = {
        "size": [f"{v:.4f}" for v in size],
        "colour": rng.choice(["red", "blue"], rows),
        "kind": np.where(size > 0, "big", "small"),
        "weight": [f"{3 * v + 10:.4f}" for v in size],
        **columns,
    }
    lines = [",".join(columns), *(",".join(row) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def table(tmp_path):
    return write(tmp_path / "stones.csv")


def run_of(table, **options):
    options = {"settings": QUICK, "quiet": True, "out": table.parent / "run", **options}
    return fit_table(table, options.pop("target", "kind"), **options)


def test_what_a_run_folder_holds(table):
    run = run_of(table, command="chainrule fit stones.csv --target kind")
    assert sorted(p.name for p in run.folder.iterdir()) == [
        "config.toml", "metrics.sqlite", "model.safetensors", "report.html",
    ]  # fmt: skip
    config = tomllib.loads((run.folder / "config.toml").read_text())
    assert config["data"]["rows"] == 120
    assert config["data"]["table"] == str(table)
    assert config["data"]["split"] == {"train": 84, "validation": 12, "test": 24}
    assert config["settings"]["hidden"] == [8]
    with closing(sqlite3.connect(run.folder / "metrics.sqlite")) as store:
        parts = dict(store.execute("SELECT part, count(*) FROM split GROUP BY part"))
        epochs = store.execute("SELECT count(*) FROM epochs").fetchone()
        name, n = store.execute("SELECT name, n FROM scores").fetchone()
    assert parts == config["data"]["split"]
    assert epochs == (5,)
    assert (name, n) == ("accuracy", 24)


def test_a_run_read_again_predicts_the_same_bits(table):
    run = run_of(table)
    again = read_run(run.folder)
    features = read_table(table).drop("kind")
    assert (again.network.outputs(features)[0] == run.network.outputs(features)[0]).all()
    assert again.scores == run.scores
    assert again.history == run.history
    assert [len(rows) for rows in again.split()] == [84, 12, 24]
    assert len(again.table) == 120


def test_nothing_is_learnt_from_test_rows(tmp_path):
    """With other values in the test rows the weights and the encoders are the same bits."""
    table = write(tmp_path / "a.csv")
    run = run_of(table, target="weight")
    test = set(read_run(run.folder).split().test.tolist())
    lines = table.read_text().splitlines()
    changed = [lines[0]]
    for i, line in enumerate(lines[1:]):
        size, colour, kind, weight = line.split(",")
        changed.append(
            f"99,green,{kind},{weight}" if i in test else f"{size},{colour},{kind},{weight}"
        )
    other = tmp_path / "b.csv"
    other.write_text("\n".join(changed))
    again = run_of(other, target="weight", out=tmp_path / "other")
    assert run.network.encoder.to_dict() == again.network.encoder.to_dict()
    for name, value in run.network.model.state_dict().items():
        assert (again.network.model.state_dict()[name] == value).all()


def test_the_score_is_that_of_the_test_rows(table):
    run = run_of(table)
    whole, rows = read_table(table), read_run(run.folder).split().test
    outputs, _ = run.network.outputs(whole.take(rows).drop("kind"))
    right = run.network.labels(outputs) == whole["kind"].values[rows]
    assert run.scores[0].value == pytest.approx(right.mean())
    assert run.scores[0].low < run.scores[0].value <= run.scores[0].high


def test_a_real_target(table):
    run = run_of(table, target="weight", settings=Settings(hidden=(16,), dropout=0.0))
    assert [score.name for score in run.scores] == [
        "R²", "root mean squared error", "mean absolute error",
    ]  # fmt: skip
    assert run.scores[0].value > 0.9
    assert run.scores[0].baseline < 0.1


def test_no_run_is_written_over_another(table):
    run_of(table)
    before = {p: p.read_bytes() for p in (table.parent / "run").iterdir()}
    with pytest.raises(cr.DataError, match="no run is written over another"):
        run_of(table)
    assert before == {p: p.read_bytes() for p in (table.parent / "run").iterdir()}
    assert runs.next_folder("stones", table.parent).name == "stones-1"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_run_that_fails_leaves_nothing(table, monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setattr(runs, "report_html", fail)
    with pytest.raises((KeyboardInterrupt, cr.CheckpointError)):
        run_of(table)
    assert os.listdir(table.parent) == ["stones.csv"]


def test_damaged_and_missing_files(table):
    run = run_of(table)
    model = run.folder / "model.safetensors"
    whole = model.read_bytes()
    model.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(cr.CheckpointError, match="ends at"):
        read_run(run.folder)
    altered = bytearray(whole)
    altered[-3] ^= 1
    model.write_bytes(altered)
    with pytest.raises(cr.CheckpointError, match="not as it was written"):
        read_run(run.folder)
    model.unlink()
    with pytest.raises(cr.CheckpointError, match="no such file"):
        read_run(run.folder)
    model.write_bytes(whole)
    (run.folder / "metrics.sqlite").write_bytes(b"not a database at all" * 50)
    with pytest.raises(cr.CheckpointError, match="damaged"):
        read_run(run.folder)
    (run.folder / "config.toml").write_text("format = ")
    with pytest.raises(cr.CheckpointError, match=r"config\.toml is damaged"):
        read_run(run.folder)
    with pytest.raises(cr.DataError, match=r"There are: .*run"):
        read_run(table.parent / "rum")


def test_a_table_that_moved_or_changed(table):
    run = run_of(table)
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-1]))
    with pytest.raises(cr.DataError, match="119 rows"):
        _ = read_run(run.folder).table
    table.unlink()
    with pytest.raises(cr.DataError, match="not there any more"):
        _ = read_run(run.folder).table


@pytest.mark.parametrize(
    ("target", "options", "says"),
    [
        ("kindd", {}, "Did you mean 'kind'"),
        ("kind", {"numeric": ("colour",)}, "colour"),
        ("kind", {"categorical": ("hue",)}, "hue"),
        ("kind", {"task": "guess"}, "guess"),
        ("colour", {"task": "real"}, "colour"),
    ],
)
def test_what_cannot_be_fitted(table, target, options, says):
    with pytest.raises(cr.DataError, match=says):
        run_of(table, target=target, **options)
    assert not (table.parent / "run").exists()


def test_a_class_seen_once(tmp_path):
    kinds = ["big"] * 60 + ["small"] * 59 + ["odd"]
    table = write(tmp_path / "once.csv", kind=kinds)
    with pytest.raises(cr.DataError, match=r"row 121.*'odd' is seen once"):
        run_of(table)


# The report


class Checker(HTMLParser):
    """Every tag that is opened is closed, and nothing is fetched."""

    VOID = ("meta", "br")

    def __init__(self):
        super().__init__()
        self.open, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "img", "iframe")
        assert not any(k in ("src", "href", "onload") for k, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """A tag that closes itself, as SVG's do."""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_report_is_whole_and_escapes_what_a_table_holds(tmp_path):
    evil = "<script>alert(1)</script>"
    kinds = rng.choice([evil, "a & b", "c" * 40], 120)
    table = write(tmp_path / "evil.csv", kind=kinds)
    table.write_text(table.read_text().replace("size", "<b>size", 1))
    run = run_of(table)
    page = (run.folder / "report.html").read_text()
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert evil[:13] + "…" in checker.text
    assert f'title="{escape(evil)}"' in page
    assert "<script>" not in page
    assert f"{run.scores[0].value:.4f}" in checker.text
    assert "http" not in page


def test_a_report_of_many_classes_and_of_a_number(tmp_path):
    kinds = [f"k{i % 40}" for i in range(400)]
    many = run_of(write(tmp_path / "many.csv", 400, kind=kinds), out=tmp_path / "many")
    assert "taken for" in (many.folder / "report.html").read_text()
    real = run_of(write(tmp_path / "real.csv"), target="weight", out=tmp_path / "real")
    checker = Checker()
    checker.feed((real.folder / "report.html").read_text())
    assert "Predicted against true" in checker.text


def test_charts_of_little():
    nothing = [None, None]
    assert curves([1, 2], {"a": nothing}, 1, "loss") == ""
    assert "circle" in curves([1], {"a": [0.5], "b": nothing[:1]}, 1, "loss")
    assert "nan" not in curves([1, 2], {"a": [float("nan"), 1.0]}, 1, "loss")
    assert "nan" not in interval(0.5, 0.5, 0.5, 0.5, "x")
    assert scatter([[float("inf"), 1.0]], "a", "b") == ""
    assert "logarithmic" in curves([1, 2, 3], {"a": [100.0, 1.0, 0.01]}, 3, "loss")
    assert ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert ticks(-1e-3, 1e-3) == [-0.001, -0.0005, 0.0, 0.0005, 0.001]
