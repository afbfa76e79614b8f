"""`fit(watch=True)`, what of it the run store keeps, and `chainrule runs`."""

import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import chainrule as cr
from chainrule import nn, optim
from chainrule.cli.commands import app
from chainrule.train import fit, fit_table, read_run
from chainrule.train.loop import History
from chainrule.train.settings import Settings

RNG = np.random.default_rng(0)
X = RNG.normal(size=(160, 5)).astype("f")
Y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(np.int64)


def trained(watch: bool, lr: float = 1e-2, **options: Any) -> tuple[nn.Module, History]:
    cr.seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
    optimizer = optim.Adam(model.parameters(), lr=lr)
    history = fit(
        model, (X[:120], Y[:120]), loss=nn.cross_entropy, optimizer=optimizer, epochs=8,
        validation=(X[120:], Y[120:]), watch=watch, **options,
    )  # fmt: skip
    return model, history


def test_a_watched_fit_is_the_same_to_the_bit_and_is_measured() -> None:
    plain, one = trained(False)
    watched, two = trained(True)
    for name, value in plain.state_dict().items():
        assert watched.state_dict()[name].tobytes() == value.tobytes()
    assert [e.train_loss for e in one.epochs] == [e.train_loss for e in two.epochs]
    assert (one.trace, one.diagnosis) == (None, None)
    trace = two.trace
    assert trace is not None
    assert trace.steps == 8 * 4
    assert trace.finished
    assert [e.epoch for e in trace.epochs] == list(range(9))
    assert [e.train_loss for e in trace.epochs[1:]] == [e.train_loss for e in two.epochs]
    start, end = trace.epochs[0], trace.epochs[-1]
    assert start.train_error is not None
    assert end.train_error is not None
    assert None not in (start.held_out_error, end.held_out_error)
    assert end.train_error < start.train_error
    first = trace.samples[0]
    assert set(first.layers) == {"0", "3"}
    # Adam's first step changes each weight by the rate, whatever its gradient (Kingma, Ba 2015).
    assert first.parameters["3.weight"].update == pytest.approx(1e-2, rel=1e-3)
    assert two.diagnosis is not None
    assert not [f for f in two.diagnosis.findings if f.severity == "error"]


def test_what_cannot_work_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    cr.seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2), nn.Softmax(dim=1))
    history = fit(model, (X, Y), loss=nn.cross_entropy, epochs=4, watch=True)
    said = capsys.readouterr().err
    assert said.count("double-softmax") == 1
    assert history.diagnosis is not None
    assert history.diagnosis.findings[0].rule == "double-softmax"


def test_a_loss_that_breaks_still_raises(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(cr.NonFiniteError):
        trained(True, lr=1e30)
    assert "non-finite" in capsys.readouterr().err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    table = folder / "t.csv"
    rows = [",".join([*map(str, x), "yes" if y else "no"]) for x, y in zip(X, Y, strict=True)]
    table.write_text("\n".join(["a,b,c,d,e,y", *rows]))
    fit_table(table, "y", out=folder / "one", settings=Settings(epochs=6), quiet=True)
    return folder


def plain(value: Any) -> Any:
    """The same with NaN as None, so that it equals itself."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def test_the_run_store_gives_the_trace_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = read_run(folder / "one")
    assert run.trace is not None
    assert run.trace.steps == len(run.trace.losses) > 6
    assert run.trace.epochs_asked == 6
    from chainrule.train import measures

    with closing(sqlite3.connect(":memory:")) as store:
        measures.write_measures(store, run.trace, None)
        again = measures.read_measures(store)
    assert again is not None
    assert plain(again.to_dict()) == plain(run.trace.to_dict())
    assert [asdict(s) for s in again.samples] == [asdict(s) for s in run.trace.samples]


def test_the_tables_are_readable_without_the_library(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "one" / "metrics.sqlite")) as store:
        (losses,) = store.execute("SELECT count(*) FROM losses").fetchone()
        gradients = store.execute(
            "SELECT gradient FROM measures_parameters WHERE step = 0 ORDER BY parameter"
        ).fetchall()
        (layers,) = store.execute("SELECT count(DISTINCT layer) FROM measures_layers").fetchone()
    assert losses > 6
    assert all(g > 0 for (g,) in gradients)
    assert layers == 3


def test_a_run_of_before_loads(folder: Path, tmp_path: Path) -> None:
    import shutil

    old = tmp_path / "old"
    shutil.copytree(folder / "one", old)
    with closing(sqlite3.connect(old / "metrics.sqlite")) as store, store:
        for name in ("trace", "losses", "measures", "measures_layers", "measures_parameters"):
            store.execute(f"DROP TABLE {name}")
    run = read_run(old)
    assert run.trace is None
    assert run.history.epochs
    shown = CliRunner().invoke(app, ["runs", str(tmp_path)]).output
    assert "not watched" in shown


def test_runs_are_listed(folder: Path) -> None:
    (folder / "bad").mkdir(exist_ok=True)
    (folder / "bad" / "config.toml").write_text("a =")
    found = CliRunner().invoke(app, ["runs", str(folder)])
    assert found.exit_code == 0
    head, *lines = found.output.splitlines()
    assert head.split()[:3] == ["run", "state", "epochs"]
    assert lines[0].startswith("bad  damaged:")
    assert lines[1].split()[:2] == ["one", "done"]
    assert "accuracy" in lines[1]


def test_a_folder_without_runs_is_said(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        found = CliRunner().invoke(app, ["runs", str(path)])
        assert found.exit_code == 1
        assert "chainrule fit" in found.output
