"""`chainrule predict` with sets, intervals and uncertainty, as it is typed."""

import csv

import numpy as np
import pytest
from typer.testing import CliRunner

import chainrule as cr
from chainrule.cli.commands import app
from chainrule.cli.predictions import predictions
from chainrule.data import Table, read_table
from chainrule.train import Settings, fit_table, read_run

QUICK = Settings(hidden=(8,), epochs=10, lr=0.02)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table with two runs, of a class and of a number; and one of a table that is too small."""
    path, rng = tmp_path_factory.mktemp("predict"), np.random.default_rng(0)
    with (path / "stones.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["size", "colour", "kind", "weight"])
        for size in rng.normal(size=600):
            noisy = size + rng.normal(0, 0.5)
            row = [f"{size:.3f}", rng.choice(["red", "blue"]), "big" if noisy > 0 else "small"]
            writer.writerow([*row, f"{10 + 3 * size + rng.normal():.3f}"])
    lines = (path / "stones.csv").read_text().splitlines()
    (path / "few.csv").write_text("\n".join(lines[:101]))
    for out, target, table in (
        ("kind", "kind", "stones.csv"),
        ("weight", "weight", "stones.csv"),
        ("few", "kind", "few.csv"),
    ):
        fit_table(path / table, target, out=path / out, settings=QUICK, quiet=True)
    columns = "size,colour,weight,kind\n"
    (path / "far.csv").write_text(columns + "0.1,red,10.2,big\n90,mauve,10,big\n")
    return path


def predict(folder, run, table, *options, status=0):
    done = CliRunner().invoke(
        app, ["predict", str(folder / run), str(folder / table), *map(str, options)]
    )
    assert done.exit_code == status, done.output
    return list(csv.DictReader(done.stdout.splitlines())), done.stderr


def test_nothing_more_without_being_asked(folder):
    rows, err = predict(folder, "kind", "stones.csv")
    assert list(rows[0]) == ["prediction", "probability big", "probability small", "uncertainty"]
    assert not err
    rows, _ = predict(folder, "weight", "stones.csv")
    assert list(rows[0]) == ["prediction"]


def test_sets(folder):
    rows, err = predict(folder, "kind", "stones.csv", "--coverage", 0.95)
    assert list(rows[0])[-1] == "set"
    network = read_run(folder / "kind").network
    members = network.sets(read_table(folder / "stones.csv"), 0.95).members
    assert [row["set"] for row in rows] == [
        "|".join(np.array(["big", "small"])[row]) for row in members
    ]
    assert "big|small" in {row["set"] for row in rows}
    assert "30 calibration rows" in err
    held = [row["set"].split("|") for row in rows]
    kinds = read_table(folder / "stones.csv")["kind"].values
    assert np.mean([kind in own for kind, own in zip(kinds, held, strict=True)]) > 0.8


def test_intervals(folder):
    rows, err = predict(folder, "weight", "stones.csv", "--coverage", 0.9)
    assert list(rows[0]) == ["prediction", "low", "high"]
    truth = read_table(folder / "stones.csv")["weight"].numbers()
    inside = [
        float(row["low"]) <= y <= float(row["high"]) for row, y in zip(rows, truth, strict=True)
    ]
    assert np.mean(inside) > 0.75
    assert all(float(r["low"]) < float(r["prediction"]) < float(r["high"]) for r in rows)
    assert "covered on average" in err


def test_uncertainty_of_classes_is_in_bits(folder):
    rows, _ = predict(folder, "kind", "stones.csv", "--uncertainty")
    assert list(rows[0])[-4:] == ["uncertainty", "aleatoric", "epistemic", "outside"]
    network = read_run(folder / "kind").network
    aleatoric, epistemic = network.uncertainty(read_table(folder / "stones.csv").drop("kind"))
    for i in range(20):
        assert float(rows[i]["aleatoric"]) == pytest.approx(aleatoric[i] / np.log(2), abs=1e-5)
        assert float(rows[i]["epistemic"]) == pytest.approx(epistemic[i] / np.log(2), abs=1e-5)
        both = float(rows[i]["aleatoric"]) + float(rows[i]["epistemic"])
        assert both == pytest.approx(float(rows[i]["uncertainty"]), abs=0.1)


def test_columns_outside_of_what_was_seen_are_named(folder):
    rows, err = predict(folder, "weight", "far.csv", "--uncertainty")
    assert rows[0]["outside"] == ""
    assert set(rows[1]["outside"].split("|")) == {"size", "colour"}
    assert float(rows[1]["epistemic"]) > float(rows[0]["epistemic"])
    assert rows[0]["aleatoric"] == rows[1]["aleatoric"]
    assert "30 held-back rows are too few for a warning" in err


def test_many_rows_outside_are_counted():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(700, 2))
    reg = cr.Regressor(hidden=(4,), epochs=1).fit(X, X[:, 0] + rng.normal(size=700))
    far = Table.from_arrays(100 + X[:30])
    _, notes = predictions(reg.network_, far, uncertainty=True)
    assert "row 0 lies outside of what was seen" in notes[0]
    assert "25 rows more lie outside of what was seen, of 30" in notes[-1]
    assert len(notes) == 6


@pytest.mark.parametrize(
    ("run", "options", "status", "says"),
    [
        ("few", ["--coverage", 0.9], 1, "18 validation rows"),
        ("few", ["--uncertainty"], 1, "no uncertainty can be given"),
        ("kind", ["--coverage", 0.99], 1, "a coverage of 0.99 takes 99"),
        ("kind", ["--coverage", 1.2], 1, "between 0 and 1"),
        ("kind", ["--coverage", "x"], 2, "parse string as a number"),
    ],
)
def test_what_is_wrong_is_said(folder, run, options, status, says):
    rows, err = predict(folder, run, "stones.csv", *options, status=status)
    assert not rows
    assert says in " ".join(err.replace("│", " ").split())


def test_help():
    done = CliRunner().invoke(app, ["predict", "--help"])
    assert "--coverage" in done.output
    assert "--uncertainty" in done.output


def test_what_calibrates_is_said_in_the_report(folder):
    page = (folder / "kind" / "report.html").read_text()
    assert "too few to calibrate with" not in page
    assert "too few to calibrate with" in (folder / "few" / "report.html").read_text()
    assert "30 validation rows, on which nothing was chosen, calibrate" in page
