"""`chainrule interpret` as it is typed."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from chainrule.cli.commands import app
from chainrule.train import Settings, fit_table, read_run

SETTINGS = Settings(hidden=(8,), epochs=15, patience=15, dropout=0.0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a table and two runs, one of classes and one of a number."""
    path = tmp_path_factory.mktemp("interpret")
    rng = np.random.default_rng(0)
    with (path / "stones.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["size", "weight", "colour", "kind", "price"])
        for size, weight in rng.normal(size=(400, 2)):
            colour = rng.choice(["red", "blue"])
            kind = "big" if size + 0.5 * rng.normal() > 0.3 else "small"
            price = 100 + 30 * size + 10 * (colour == "red") + 3 * rng.normal()
            writer.writerow([f"{size:.3f}", f"{weight:.3f}", colour, kind, f"{price:.3f}"])
    for target, name in (("price", "real"), ("kind", "classes")):
        fit_table(
            path / "stones.csv", target, out=path / "runs" / name, settings=SETTINGS, quiet=True
        )
    rows = list(csv.reader((path / "stones.csv").read_text().splitlines()))
    for name, columns in (("asked", [0, 1, 2, 4]), ("known", [0, 1, 2, 3, 4])):
        with (path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([row[j] for j in columns] for row in rows[:90])
    with (path / "far.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["size", "weight", "colour", "price"], ["900", "0.1", "red", "100"]]
        )
    return path


@pytest.fixture
def typed(trained, monkeypatch):
    """Types `chainrule …` in that folder; gives what it prints."""
    monkeypatch.chdir(trained)

    def run(*arguments, status=0):
        done = CliRunner().invoke(app, [*map(str, arguments)])
        assert done.exit_code == status, (done.output, done.exception)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert "Traceback" not in done.output
        return done.output

    return run


def test_without_a_table_the_test_rows_are_asked_about(typed, trained, tmp_path):
    data = tmp_path / "i.json"
    out = typed("interpret", "runs/classes", "--json", data)
    assert "Of 80 held-out rows the network answers" in out
    assert "At 10 % error" in out
    assert "among the held-out ones, which the figures rest on" in out
    assert "Held out are the run's test rows" in out
    assert "runs/classes/interpretation.html written" in out
    assert (trained / "runs/classes/interpretation.html").exists()
    assert "\x1b" not in out
    found = json.loads(data.read_text())
    run = read_run("runs/classes")
    parts = run.split()
    # Rows keep the numbers of the run's table.
    assert found["table"]["row"] == parts.test.tolist()
    labels = run.table["kind"]
    assert found["table"]["truth"] == [labels.written(int(i)) for i in parts.test]
    assert found["about"]["held_out"] == 80
    assert found["about"]["training"] == len(parts.train)
    detailed = [row for row in found["rows"] if row["why"]]
    assert len(detailed) == 3
    for row in detailed:
        assert {n["row"] for n in row["neighbours"]} <= set(parts.train.tolist())
        assert all(labels.written(n["row"]) == n["label"] for n in row["neighbours"])
    assert len([f for f in (trained / "runs/classes").iterdir() if f.suffix == ".json"]) == 0


def test_the_newest_run_is_meant_where_none_is_named(typed):
    assert "runs/classes" in typed("interpret", "--posterior", "none")


def test_a_row_of_the_run(typed, tmp_path):
    page, data = tmp_path / "i.html", tmp_path / "i.json"
    out = typed("interpret", "runs/classes", "--row", 5, "--row", 2, "--coverage", 0.8,
                "--html", page, "--json", data)  # fmt: skip
    assert "Row 5" in out
    assert "Row 2" in out
    assert "At 20 % error" in out
    assert "of the doubt would go with more data" in out
    assert page.exists()
    assert [row["row"] for row in json.loads(data.read_text())["rows"]] == [5, 2]


def test_a_table_without_and_with_the_target(typed, tmp_path):
    data = tmp_path / "i.json"
    out = typed("interpret", "runs/classes", "asked.csv", "--json", data)
    assert "are answered rightly" not in out
    assert json.loads(data.read_text())["judged"] is None
    out = typed("interpret", "runs/classes", "known.csv", "--json", data)
    assert "of these 89 rows are answered rightly" in out
    assert "of these rows are among the training rows" in out
    found = json.loads(data.read_text())
    assert found["judged"]["rows"] == 89
    assert [row["truth"] for row in found["rows"]] == found["table"]["truth"]


def test_a_row_like_none_that_was_seen(typed):
    out = typed("interpret", "runs/classes", "far.csv")
    assert "The row lies outside of what the network saw, in size = 900 (seen: " in out


def test_a_real_target(typed, tmp_path):
    data = tmp_path / "i.json"
    out = typed("interpret", "runs/real", "--json", data, "--method", "shapley")
    assert "On 80 held-out rows the network is off by" in out
    assert "(one standard deviation)" in out
    assert "what lies between (shapley)" in out
    found = json.loads(data.read_text())
    table = found["table"]
    inside = np.array(table["low"]) <= np.array(table["truth"])
    inside &= np.array(table["truth"]) <= np.array(table["high"])
    assert inside.mean() >= 0.9
    network = read_run("runs/real").network
    rows = read_run("runs/real").table.take(read_run("runs/real").split().test)
    np.testing.assert_allclose(
        table["answer"], network.labels(network.outputs(rows.drop("price"))[0]), rtol=1e-4
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs/nothing"], "runs/nothing"),
        (["runs/classes", "nothing.csv"], "nothing.csv"),
        (["runs/classes", "--row", "400"], "there is no row 400: the run's table has the rows 0 …"),
        (["runs/classes", "asked.csv", "--row", "-1"], "there is no row -1: asked.csv"),
        (["runs/classes", "--coverage", "1"], "coverage"),
        (["runs/classes", "--posterior", "tea"], "posterior is 'tea'"),
        (["runs/classes", "--method", "tea"], "no method 'tea'"),
        (["runs/real", "--posterior", "none", "--html", "no/i.html"], "cannot be written"),
    ],
)
def test_wrong_words_are_one_message(typed, arguments, said):
    assert said in typed("interpret", *arguments, status=1)
