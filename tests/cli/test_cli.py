"""The commands as they are typed: what they print, what they leave behind, how they fail."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "100"}


def chainrule(*arguments, cwd, status=0):
    done = subprocess.run(
        [sys.executable, "-m", "chainrule", *map(str, arguments)],
        cwd=cwd, env=environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table and a run."""
    path = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    with (path / "stones.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["size", "colour", "kind"])
        for size in rng.normal(size=200):
            writer.writerow(
                [f"{size:.3f}", rng.choice(["red", "blue"]), "big" if size > 0 else "small"]
            )
    out, err = chainrule(
        "fit", "stones.csv", "--target", "kind", "--epochs", 30, "--hidden", "16", cwd=path
    )
    assert "test accuracy 0.9" in out
    assert "always saying" in out
    assert "epoch   30/30" in err
    return path


def test_fit_leaves_a_run(folder):
    assert sorted(p.name for p in (folder / "runs/stones-1").iterdir()) == [
        "config.toml", "metrics.sqlite", "model.safetensors", "report.html",
    ]  # fmt: skip


def test_predict_to_the_terminal_and_to_a_file(folder):
    out, _ = chainrule("predict", "runs/stones-1", "stones.csv", cwd=folder)
    rows = list(csv.DictReader(out.splitlines()))
    assert list(rows[0]) == ["prediction", "probability big", "probability small", "uncertainty"]
    assert len(rows) == 200
    for row in rows[:20]:
        p = np.array([float(row["probability big"]), float(row["probability small"])])
        assert p.sum() == pytest.approx(1, abs=1e-5)
        assert row["prediction"] == ("big" if p[0] > p[1] else "small")
        entropy = -np.sum(p * np.log2(np.where(p > 0, p, 1)))
        assert float(row["uncertainty"]) == pytest.approx(entropy, abs=1e-4)
    chainrule("predict", "runs/stones-1", "stones.csv", "--out", "said.csv", cwd=folder)
    assert (folder / "said.csv").read_text().splitlines() == out.splitlines()


def test_columns_in_any_order_unseen_categories_and_extra_ones(folder):
    (folder / "other.csv").write_text("new,colour,size\n1,mauve,2.5\n2,red,-2.5\n")
    out, err = chainrule("predict", "runs/stones-1", "other.csv", cwd=folder)
    assert [line.split(",")[0] for line in out.splitlines()[1:]] == ["big", "small"]
    assert "'new'" in err
    assert "mauve" in err


def test_explain_shows_numbers_that_agree(folder):
    out, _ = chainrule("explain", "runs/stones-1", "--row", 3, cwd=folder)
    assert "claims in" in out
    assert "all agree" in out
    assert "softmax gives the label" in out
    assert "main.py" not in out


def test_explain_of_a_real_target(folder):
    chainrule("fit", "stones.csv", "--target", "size", "--epochs", 3, "--out", "real", cwd=folder)
    out, _ = chainrule("explain", "real", cwd=folder)
    assert "standardised" in out
    assert "all agree" in out
    out, _ = chainrule("predict", "real", "stones.csv", cwd=folder)
    assert out.splitlines()[0] == "prediction"


def test_help_and_version():
    out, _ = chainrule("--help", cwd=ROOT)
    assert all(name in out for name in ("fit", "demo", "predict", "explain"))
    out, _ = chainrule("--version", cwd=ROOT)
    assert out.startswith("chainrule 0.")


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["fit", "none.csv", "--target", "kind"], 1, "none.csv"),
        (["fit", "stones.csv", "--target", "knd"], 1, "Did you mean 'kind'"),
        (["fit", "empty.csv", "--target", "kind"], 1, "empty"),
        (["fit", "header.csv", "--target", "kind"], 1, "no rows"),
        (["fit", "once.csv", "--target", "kind"], 1, "seen once"),
        (["fit", "infinite.csv", "--target", "kind"], 1, "inf"),
        (["fit", "stones.csv", "--target", "kind", "--numeric", "colour"], 1, "where numbers"),
        (["fit", "stones.csv", "--target", "kind", "--hidden", "0"], 1, "hidden"),
        (["fit", "stones.csv", "--target", "kind", "--hidden", "x"], 2, "256,128"),
        (["fit", "stones.csv", "--target", "kind", "--out", "runs/stones-1"], 1, "already"),
        (["fit", "stones.csv", "--target", "kind", "--out", "stones.csv/run"], 1, "folder"),
        (["fit", "stones.csv", "--target", "kind", "--task", "x"], 1, "'classes'"),
        (["fit", "stones.csv"], 2, "--target"),
        (["predict", "runs/none", "stones.csv"], 1, "runs/stones-1"),
        (["predict", "runs/stones-1", "lacks.csv"], 1, "'size'"),
        (["predict", "runs/stones-1", "text.csv"], 1, "row 2"),
        (["predict", "runs/stones-1", "stones.csv", "--out", "no/where.csv"], 1, "no folder"),
        (["predict", "cut", "stones.csv"], 1, "ends at"),
        (["explain", "runs/stones-1", "--row", "999"], 1, "0 … 199"),
        (["explain", "stones.csv"], 1, "run folder"),
        (["no-such-command"], 2, "no-such-command"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(folder, arguments, status, says):
    (folder / "empty.csv").write_text("")
    (folder / "header.csv").write_text("size,colour,kind\n")
    (folder / "once.csv").write_text("size,kind\n1,a\n2,a\n3,b\n4,c\n5,c\n")
    rows = "\n".join(f"{i},{'ab'[i % 2]}" for i in range(50))
    (folder / "infinite.csv").write_text(f"size,kind\ninf,a\n{rows}\n")
    (folder / "lacks.csv").write_text("colour\nred\n")
    (folder / "text.csv").write_text("size,colour\nlarge,red\n")
    cut = folder / "cut"
    if not cut.exists():
        cut.mkdir()
        for path in (folder / "runs/stones-1").iterdir():
            data = path.read_bytes()
            (cut / path.name).write_bytes(
                data[: len(data) // 2] if path.suffix == ".safetensors" else data
            )
    before = sorted(p for p in folder.rglob("*"))
    _, err = chainrule(*arguments, cwd=folder, status=status)
    assert says in " ".join(err.replace("│", " ").split())
    assert before == sorted(p for p in folder.rglob("*"))


def test_ctrl_c_leaves_nothing_behind(folder):
    before = sorted(folder.rglob("*"))
    process = subprocess.Popen(
        [sys.executable, "-m", "chainrule", "fit", "stones.csv", "--target", "kind",
         "--epochs", "100000"],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    process.stderr.readline()  # the first epoch is done
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "nothing was written" in err
    assert "Traceback" not in err
    assert before == sorted(folder.rglob("*"))


def test_demo(tmp_path):
    out, _ = chainrule("demo", cwd=tmp_path)
    last = out.strip().splitlines()[-1]
    assert last.startswith("test accuracy 0.9")
    assert float(last.split()[-1]) >= 0.97
    out, _ = chainrule("explain", "runs/digits-1", "--row", 5, cwd=tmp_path)
    assert "all agree" in out
