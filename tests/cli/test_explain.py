"""`chainrule explain` as it is typed: every question, every kind of file, every wrong word."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import chainrule as cr
from chainrule.cli import explaining
from chainrule.cli.commands import app
from chainrule.lens.explain.derivation import Check
from chainrule.train import fit_table
from chainrule.train.settings import Settings


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a table and a run."""
    path = tmp_path_factory.mktemp("explain")
    rng = np.random.default_rng(0)
    with (path / "stones.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["size", "weight", "kind"])
        for size, weight in rng.normal(size=(150, 2)):
            kind = "big" if size > 0.5 else "heavy" if weight > 0 else "small"
            writer.writerow([f"{size:.3f}", f"{weight:.3f}", kind])
    settings = Settings(hidden=(8,), epochs=20)
    fit_table(path / "stones.csv", "kind", out=path / "runs/one", settings=settings, quiet=True)
    return path


@pytest.fixture
def typed(trained, monkeypatch):
    """Types `chainrule explain …` in that folder; gives what it prints."""
    monkeypatch.chdir(trained)

    def run(*arguments, status=0):
        done = CliRunner().invoke(app, ["explain", *map(str, arguments)])
        assert done.exit_code == status, done.output
        return done.output

    return run


def test_without_a_run_the_newest_is_explained(typed, trained):
    out = typed()
    for title in ("Forward pass", "Loss", "Backward pass", "Update"):
        assert f"\n{title}" in out
    assert "all agree" in out
    assert "running averages at 0" in out
    assert "labels were smoothed by 0.1" in out
    assert "rows.py" not in out
    assert "\x1b" not in out
    shutil.copytree(trained / "runs/one", trained / "runs/later")
    (trained / "runs/later/config.toml").touch()
    try:
        assert explaining.newest() == Path("runs/later")
    finally:
        shutil.rmtree(trained / "runs/later")


def test_the_numbers_are_those_of_the_run(typed, trained):
    """The prediction by hand, from the weights in the file."""
    from chainrule.train import read_run

    out = typed("runs/one", "--row", 7)
    network = read_run(trained / "runs/one").network
    x, _ = network.encoder.encode(read_run(trained / "runs/one").table.take([7]))
    w = [p.numpy().astype(np.float64) for p in network.model.parameters()]
    hidden = np.maximum(x @ w[0].T + w[1], 0)
    logits = (hidden @ w[2].T + w[3])[0]
    p = np.exp(logits - logits.max())
    p /= p.sum()
    found = re.search(r"prediction: (\w+) with probability ([\d.e-]+)", out)
    assert float(found[2]) == pytest.approx(p.max(), rel=2e-4)
    loss = float(re.search(r"→ L = ([\d.e−-]+)", out)[1].replace("−", "-"))
    given = float(re.search(r"which was given ([\d.e-]+)", out)[1])
    assert loss == pytest.approx(-np.log(given), rel=1e-3)


def test_heights(typed):
    lengths = [
        len(typed("--height", height).splitlines())
        for height in ("black box", "components", "shapes", "symbols", "numbers", "code")
    ]
    assert lengths == sorted(lengths)
    assert lengths[0] < 15


@pytest.mark.parametrize(
    ("option", "shown", "missing"),
    [
        ("--forward", "Forward pass", "Backward pass"),
        ("--loss", "Loss", "Forward pass"),
        ("--backward", "Backward pass", "Update"),
        ("--update", "Update", "Backward pass"),
    ],
)
def test_one_part(typed, option, shown, missing):
    out = typed(option)
    assert f"\n{shown}" in out
    assert f"\n{missing}" not in out
    assert "all agree" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--weight", "3.weight[2, 5]"], "A change, tried"),
        (["--weight", "0.bias[1]"], "∂L/∂0.bias[1]"),
        (["--neuron", "0[5]"], "'weight'"),
        (["--neuron", "3[0]"], "of 3"),
        (["--probability"], "‘big’"),
        (["--bayes"], "Bayes' rule"),
        (["--shapes"], "3.weight is (3, 8)"),
        (["--open", "a2"], "a2"),
        (["--loss", "--probability"], "‘big’"),
    ],
)
def test_questions(typed, arguments, says):
    out = typed(*arguments)
    assert says in out
    assert "all agree" in out


def test_another_optimiser(typed):
    out = typed("--update", "--optimizer", "SGD(lr=0.125, momentum=0.9)")
    assert "0.125" in out
    assert "momentum_buffer" in out
    assert "the first step of SGD(lr=0.125, momentum=0.9)" in out


def test_in_training_dropout_drops(typed):
    assert "(Dropout)" not in typed()
    assert "2 (Dropout)" in typed("--training").split("Backward")[0]


def test_files(typed, trained):
    out = typed("--row", 3, "--html", "a.html", "--latex", "b", "--json", "c.json", "--python", "d")
    assert out.splitlines() == [f"{name} written" for name in ("a.html", "b", "c.json", "d")]
    assert (trained / "a.html").read_text().lstrip().lower().startswith("<!doctype html>")
    assert (trained / "b").read_text().startswith(r"\documentclass")
    for name in ("a.html", "b", "c.json"):
        assert "row 3 of" in (trained / name).read_text()
    assert json.loads((trained / "c.json").read_text())["verified"] is True
    done = subprocess.run([sys.executable, "-I", "d"], cwd=trained, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "assertions hold" in done.stdout


@pytest.mark.parametrize("subject", ["mazur", "misconceptions"])
def test_audits_need_no_run(subject, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["explain", subject, "--check"])
    assert done.exit_code == 0, done.output
    assert "all agree" in done.output


def test_check_says_what_holds(typed):
    (line,) = typed("--check").splitlines()
    assert re.fullmatch(
        r"\d+ claims in \d+ steps recomputed by another route; all agree\. "
        r"The tear-out proof holds\.",
        line,
    )


def test_check_of_a_wrong_derivative_fails(typed, monkeypatch):
    relu = cr.ops.operation.registry["relu"]
    right = relu.pull

    def wrong(node, gradient, *rest):
        return [part if part is None else part * 1.01 for part in right(node, gradient, *rest)]

    monkeypatch.setattr(relu, "pull", wrong)
    out = typed("--check", status=1)
    assert "δz1: " in out
    assert "does not hold" in out
    assert "these do not agree: δz1" in out
    # The numbers in the proof follow from one another wrongly, too.
    assert "the tear-out proof: does not hold: δz1[" in out
    typed(status=1)


def test_check_runs_the_proof(typed, monkeypatch):
    monkeypatch.setattr(Check, "holds", True)
    monkeypatch.setattr(
        "chainrule.lens.explain.written.proof.script", lambda derivation: "raise SystemExit('no')\n"
    )
    assert "the tear-out proof: no" in typed("--check", status=1)


def test_a_row_that_is_not_a_number_is_explained_as_far_as_it_goes(typed, trained, monkeypatch):
    from chainrule.data import ColumnEncoder

    encode = ColumnEncoder.encode

    def broken(self, table):
        values, notes = encode(self, table)
        values[:, 0] = np.nan
        return values, notes

    monkeypatch.setattr(ColumnEncoder, "encode", broken)
    out = typed()
    assert "z1 = linear(x, 0.weight, 0.bias)" in out
    assert "Nothing behind this step can be explained" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "there is no run folder nowhere"),
        (["--row", "150"], "0 … 149"),
        (["--row", "-1"], "0 … 149"),
        (["--height", "sky"], "black box, components, shapes, symbols, numbers, code"),
        (["--weight", "9.weight[0, 0]"], "0.weight, 0.bias, 3.weight, 3.bias"),
        (["--weight", "3.weight[3, 0]"], "3.weight"),
        (["--weight", "3.weight"], "3.weight"),
        (["--neuron", "0"], "as in 0[5]"),
        (["--neuron", "0[8]"], "8"),
        (["--neuron", "9[0]"], "9"),
        (["--attention", "[0]"], "a head and a position"),
        (["--attention", "[0, 0]"], "no attention ran"),
        (["--open", "q9"], "q9"),
        (["--optimizer", "SGB"], "there are ASGD, Adadelta"),
        (["--optimizer", "SGD(0.1)"], "SGD(lr=0.1, momentum=0.9)"),
        (["--optimizer", "SGD(lr=-1.0)"], "lr"),
        (["--optimizer", "__import__('os')"], "is no optimiser"),
        (["--html", "no/where.html"], "there is no folder no"),
        (["--python", "runs"], "it is a folder"),
        (["mazur", "--shapes"], "questions are asked of a run"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(typed, arguments, says):
    out = typed(*arguments, status=1)
    assert out.startswith("chainrule explain: ")
    assert says in " ".join(out.split())
    assert "Traceback" not in out


def test_where_there_is_no_run_it_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["explain"])
    assert done.exit_code == 1
    assert "chainrule demo" in done.output
    assert "mazur" in done.output
