"""The run folder: what `chainrule fit` leaves behind, readable without chainrule.

    model.safetensors   weights; architecture, encoders and settings in its metadata (JSON)
    config.toml         what was asked for: the table, the target, the settings, versions
    metrics.sqlite      tables `epochs`, `scores` and `split` (the part that each row was in); and
                        what was measured while it was trained, in the tables of `measures.py`
    report.html         all of it for people

A run is written beside its place and renamed when it is whole, so that there is never half a one.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import tomllib
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data import Split, Table, read_table
from chainrule.errors import CheckpointError, DataError
from chainrule.lens.diagnose.trace import Trace
from chainrule.tensor.locate import explained
from chainrule.train.loop import Epoch, History
from chainrule.train.measures import read_measures, write_measures
from chainrule.train.metrics import Score
from chainrule.train.report import report_html
from chainrule.train.tabular import TableNetwork

FORMAT = 1


@dataclass(frozen=True)
class Run:
    """A trained network with where it came from and how good it is.

    Attributes:
        folder: where it is.
        network: the model with its encoders.
        config: what config.toml holds.
        history: what training went through.
        scores: on the test rows; the first is the headline.
        trace: what was measured on the way; None where nothing was.
    """

    folder: Path
    network: TableNetwork
    config: dict[str, Any]
    scores: list[Score]
    history: History

    @property
    def trace(self) -> Trace | None:
        return self.history.trace

    @property
    def table(self) -> Table:
        """The table that the run was trained on, read again.

        Raises:
            DataError: it is not where it was, or has other rows now.
        """
        path = Path(self.config["data"]["table"])
        path = path if path.is_absolute() else self.folder / path
        if not path.exists():
            raise DataError(
                f"the run {self.folder} was trained on {path}, which is not there any more. Put it "
                "back, or give another table: chainrule predict RUN TABLE"
            )
        table = read_table(path)
        if len(table) != self.config["data"]["rows"]:
            raise DataError(
                f"{path} has {len(table)} rows, and had {self.config['data']['rows']} when the run "
                f"{self.folder} was trained on it"
            )
        return table

    def split(self) -> Split:
        """The rows of each part."""
        with closing(_open(self.folder / "metrics.sqlite")) as store:
            found = store.execute("SELECT row, part FROM split ORDER BY row").fetchall()
        parts = {name: [r for r, part in found if part == name] for name in Split._fields}
        return Split(*(np.array(parts[name], dtype=np.int64) for name in Split._fields))


_EPOCH = tuple(Epoch.__dataclass_fields__)
_SCORE = tuple(Score.__dataclass_fields__)


def next_folder(name: str, root: Path = Path("runs")) -> Path:
    """`runs/NAME-1`, or the first number that is not taken."""
    number = 1
    while (root / f"{name}-{number}").exists():
        number += 1
    return root / f"{name}-{number}"


def check_free(folder: Path) -> None:
    """DataError where a run cannot be written to `folder`."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "a run" if (folder / "config.toml").exists() else "something"
        raise DataError(
            f"{folder} holds {what} already, and no run is written over another. Name a folder "
            "that does not exist yet with --out, or leave --out away."
        )
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise DataError(f"{folder} cannot be made: {existing} is not a folder one may write to")


def write_run(
    folder: Path,
    network: TableNetwork,
    config: dict[str, Any],
    scores: list[Score],
    parts: Split,
    report: dict[str, Any],
    table: Path | None = None,
) -> Run:
    """Write a whole run, or nothing.

    Args:
        table: a file to be put into the folder too, for a run without a table of the user's.
    """
    import tomli_w

    assert network.history is not None
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        beside.chmod(0o755)
        network.save(beside / "model.safetensors")
        (beside / "config.toml").write_text(tomli_w.dumps(config), encoding="utf-8")
        _write_metrics(beside / "metrics.sqlite", network.history, scores, parts)
        (beside / "report.html").write_text(report_html(report), encoding="utf-8")
        if table is not None:
            shutil.copyfile(table, beside / table.name)
        if folder.exists():
            folder.rmdir()  # it is empty: `check_free` has looked
        beside.rename(folder)
    except OSError as error:
        raise CheckpointError(
            f"the run {folder} cannot be written: {error.strerror or error}. Nothing was left "
            "behind."
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Run(folder, network, config, scores, network.history)


def _write_metrics(path: Path, history: History, scores: list[Score], parts: Split) -> None:
    with closing(sqlite3.connect(path)) as store, store:
        store.execute(
            "CREATE TABLE epochs (epoch INTEGER PRIMARY KEY, train_loss REAL NOT NULL, "
            "validation_loss REAL, validation_score REAL, learning_rate REAL, seconds REAL)"
        )
        store.execute(
            "CREATE TABLE scores (name TEXT PRIMARY KEY, value REAL, low REAL, high REAL, "
            "n INTEGER, baseline REAL, baseline_name TEXT)"
        )
        store.execute("CREATE TABLE split (row INTEGER PRIMARY KEY, part TEXT NOT NULL)")
        _insert(store, "epochs", _EPOCH, [asdict(epoch) for epoch in history.epochs])
        _insert(store, "scores", _SCORE, [asdict(score) for score in scores])
        if history.trace is not None:
            write_measures(store, history.trace, history.diagnosis)
        for part, rows in parts._asdict().items():
            store.executemany("INSERT INTO split VALUES (?, ?)", ((int(r), part) for r in rows))


def _insert(store: Any, table: str, names: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    places = ", ".join(f":{name}" for name in names)
    store.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", rows)


def _open(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise CheckpointError(f"{path} is not there; the run is not whole")
    store = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        store.execute("SELECT name FROM scores").fetchall()
    except sqlite3.DatabaseError as error:
        store.close()
        raise CheckpointError(f"{path} is damaged: {error}") from None
    return store


@explained
def read_run(folder: str | Path) -> Run:
    """The run in a folder.

    Raises:
        DataError: there is no run.
        CheckpointError: one of its files is missing or damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        near = sorted(str(p.parent) for p in folder.parent.glob("*/config.toml"))[:5]
        raise DataError(
            f"there is no run folder {folder}."
            + (f" There are: {', '.join(near)}." if near else " `chainrule fit` makes one.")
        )
    path = folder / "config.toml"
    if not path.exists():
        raise DataError(f"{folder} is no run folder: it has no config.toml")
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
        if config["format"] > FORMAT:
            raise CheckpointError(
                f"{path} is of format {config['format']}, and this chainrule reads up to {FORMAT}; "
                "install a newer one"
            )
        config["data"]["table"], config["data"]["rows"], config["training"]["best_epoch"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}") from None
    with closing(_open(folder / "metrics.sqlite")) as store:
        rows = store.execute(f"SELECT {', '.join(_SCORE)} FROM scores ORDER BY rowid").fetchall()
        scores = [Score(*row) for row in rows]
        rows = store.execute(f"SELECT {', '.join(_EPOCH)} FROM epochs ORDER BY epoch").fetchall()
        trace = read_measures(store)
    training = config["training"]
    history = History(
        [Epoch(*row) for row in rows], training["best_epoch"], training["stopped"], trace
    )
    network = TableNetwork.load(folder / "model.safetensors")
    return Run(folder, network, config, scores, history)
