"""`chainrule diagnose` and `chainrule demo --broken` as they are typed."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from chainrule import nn
from chainrule.cli import diagnosing
from chainrule.cli.broken import BROKEN, write_broken
from chainrule.cli.commands import app
from chainrule.errors import DataError
from chainrule.lens.diagnose import Change, Diagnosis, Finding, changes
from chainrule.lens.diagnose.mended import settings_after
from chainrule.lens.diagnose.script import run_script
from chainrule.lens.diagnose.training import train
from chainrule.lens.diagnose.trials.trial import Arm, Trial
from chainrule.train import Settings, fit_table, read_run
from chainrule.train.tabular import build

SETTINGS = Settings(hidden=(8,), epochs=12, patience=12, dropout=0.0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a table and two runs, one of classes and one of a number."""
    path = tmp_path_factory.mktemp("diagnose")
    rng = np.random.default_rng(0)
    with (path / "stones.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["size", "weight", "colour", "kind", "price"])
        for size, weight in rng.normal(size=(150, 2)):
            kind = "big" if size > 0.5 else "heavy" if weight > 0 else "small"
            colour = rng.choice(["red", "blue"])
            price = 100 + 3 * size + weight
            writer.writerow([f"{size:.3f}", f"{weight:.3f}", colour, kind, f"{price:.3f}"])
    for target, name in (("price", "real"), ("kind", "classes")):
        fit_table(
            path / "stones.csv", target, out=path / "runs" / name, settings=SETTINGS, quiet=True
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


def test_without_a_subject_the_newest_run_is_diagnosed(typed, tmp_path):
    files = tmp_path / "d.html", tmp_path / "d.json"
    out = typed("diagnose", "--no-trials", "--html", files[0], "--json", files[1])
    assert "runs/classes" in out
    assert "trained again as it was" in out
    assert "validation and test rows" in out
    assert "\x1b" not in out
    assert all(file.exists() for file in files)
    found = Diagnosis.from_dict(json.loads(files[1].read_text()))
    assert found.about["subject"] == "runs/classes"
    assert "size" in " ".join(found.about["columns"])
    assert found.seconds["trials"] < 0.1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs/nothing"], "there is no runs/nothing"),
        (["stones.csv"], "no run folder and no Python script"),
        ([".", "--no-trials"], "no config.toml"),
        (["--budget", "soon"], "no time"),
        (["runs/real", "--no-trials", "--html", "no/d.html"], "cannot be written"),
        (["runs/real", "--no-trials", "--rule", "nothing.py"], "nothing.py"),
        (["runs/real", "--no-trials", "--", "--epochs", "3"], "arguments"),
    ],
)
def test_wrong_words_are_one_message(typed, arguments, said):
    assert said in typed("diagnose", *arguments, status=1)


@pytest.mark.parametrize("name", ["classes", "real"])
def test_the_run_is_made_again(trained, name):
    """Training the setup gives the losses that the run itself had."""
    run = read_run(trained / "runs" / name)
    setup = diagnosing.setup_of_run(run)
    assert setup.epochs == run.history.best_epoch
    losses = train(setup).trace.losses.reshape(setup.epochs, -1)
    own = [epoch.train_loss for epoch in run.history.epochs[: setup.epochs]]
    parts = run.split()
    *_, rest = rows = [32] * (len(parts.train) // 32) + [len(parts.train) % 32]
    assert rest
    np.testing.assert_allclose(np.average(losses, axis=1, weights=rows), own, rtol=1e-5)
    assert len(setup.x) == len(parts.train)
    assert len(setup.x_held) == len(parts.validation) + len(parts.test)


def test_settings_are_read_off_a_changed_setup(trained):
    run = read_run(trained / "runs" / "classes")
    setup, settings = diagnosing.setup_of_run(run), run.network.settings

    def after(change):
        return settings_after(settings, setup, change.apply(setup))

    assert after(Change("nothing", lambda s: s)) == settings
    # The rate is the settings', the largest of the schedule, and not the one that it begins with.
    assert setup.rate == settings.lr > 10 * setup.framework.rate(setup.optimizer)
    assert after(changes.set_rate(10 * settings.lr)).lr == pytest.approx(settings.lr * 10)
    assert after(changes.train_longer(3)).epochs == 3 * settings.epochs
    assert after(changes.set_batch_size(16)).batch_size == 16
    assert after(changes.set_decay(0.5)).weight_decay == 0.5
    assert after(changes.widen("0", 2)).hidden == (16,)
    assert after(changes.use_activation("Tanh")).activation == "tanh"
    for change in (
        changes.use_optimizer("SGD", lr=0.1),
        changes.standardise_inputs(),
        changes.insert_after("0", "BatchNorm1d", 8),
    ):
        with pytest.raises(changes.Inapplicable):
            after(change)


def test_fix_writes_the_mended_run_beside_it(typed, trained, monkeypatch):
    """A finding whose remedy helped is planted; the rest is real."""

    def planted(subject, **options):
        remedy = changes.train_longer(2)
        arms = [Arm(title, (0.5,), (0,), 12, 1.0) for title in ("no change", "random change")]
        trial = Trial(tuple(arms), 0.5, 0.4, 0.6, 0.5, True, 1.0)
        finding = Finding("too-few-steps", "epochs", "Too few", remedies=[remedy],
                          trial=trial, chosen=remedy,
                          setup=diagnosing.setup_of_run(read_run(subject)))  # fmt: skip
        return Diagnosis([finding])

    monkeypatch.setattr(diagnosing, "diagnose_subject", planted)
    before = {p: p.read_bytes() for p in (trained / "runs/classes").iterdir()}
    out = typed("diagnose", "runs/classes", "--fix", "--strict", status=1)
    assert re.search(r"before: test accuracy [\d.]+", out)
    assert re.search(r"after: +test accuracy [\d.]+.* in runs/classes-fixed", out)
    assert "too-few-steps: epochs 12 → 24" in out
    assert read_run(trained / "runs/classes-fixed").network.settings.epochs == 24
    assert before == {p: p.read_bytes() for p in (trained / "runs/classes").iterdir()}
    assert "no run is written over" in typed("diagnose", "runs/classes", "--fix", status=1)


def test_strict_is_for_machines(typed, monkeypatch):
    healthy = Diagnosis([Finding("batch-size", "data", "small", severity="advice")])
    monkeypatch.setattr(diagnosing, "diagnose_subject", lambda *a, **o: healthy)
    assert "Nothing found that is wrong; 1 piece of advice." in typed("diagnose", "--strict")
    assert "nothing in runs/" in typed("diagnose", "--fix", status=1)


def test_times():
    assert diagnosing.seconds_of("60s") == diagnosing.seconds_of("1m") == 60
    assert diagnosing.seconds_of("0") == 0
    with pytest.raises(DataError, match="60s"):
        diagnosing.seconds_of("-3")


def test_broken_networks_are_listed_and_written(typed, trained):
    listed = typed("demo", "--broken", "list")
    assert all(name in listed for name in BROKEN)
    out = typed("demo", "--broken", "vanishing")
    assert "chainrule diagnose broken_vanishing.py" in out
    typed("demo", "--broken", "vanishing")  # the same again is no harm
    path = trained / "broken_vanishing.py"
    path.write_text("mine")
    assert "not written over" in typed("demo", "--broken", "vanishing", status=1)
    assert path.read_text() == "mine"
    assert "vanishing" in typed("demo", "--broken", "nothing", status=1)


@pytest.mark.parametrize("name", BROKEN)
def test_every_broken_script_is_short_and_compiles(name, tmp_path):
    path = write_broken(name, tmp_path)
    text = path.read_text()
    compile(text, str(path), "exec")
    assert max(map(len, text.splitlines())) <= 100
    assert len(text.splitlines()) < 50
    assert f"chainrule diagnose {path.name}" in text


def test_a_broken_script_runs_as_it_is(tmp_path):
    path = write_broken("too-few-steps", tmp_path)
    done = subprocess.run(
        [sys.executable, path.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "accuracy on 497 digits" in done.stdout


@pytest.mark.parametrize("name", ["constant-init", "labels-shuffled", "overfit"])
def test_what_is_broken_is_said_first(name, tmp_path):
    found = run_script(write_broken(name, tmp_path), budget=0)
    assert not found.healthy
    assert found.findings[0].rule in BROKEN[name].rules
    assert "the run was made again" in found.about["note"]


def test_the_network_of_a_run_is_rebuilt_by_its_settings(trained):
    run = read_run(trained / "runs" / "classes")
    model = diagnosing.setup_of_run(run).model
    assert repr(model) == repr(run.network.model)
    assert isinstance(build(3, 2, SETTINGS.for_rows(100, "classes")), nn.Sequential)
