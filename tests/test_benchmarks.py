"""The benchmarks run, and refuse to compare what is not the same work. No time is judged here."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.race import Worker, disagreement
from benchmarks.ratio import ratio
from benchmarks.workloads import ALL, WORKLOADS, data, parameters, weights

ROOT = Path(__file__).parents[1]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_prints_a_table() -> None:
    done = bench(
        *("--workloads", "tiny", "--frameworks", "chainrule_eager", "--rounds", "1"),
        *("--turn", "0.01"),
    )
    assert done.returncode == 0, done.stderr
    assert "tiny: MLP 64-64-10, batch 32; rounds: 1" in done.stdout
    row = re.search(r"^ *chainrule_eager +([\d.]+) ", done.stdout, re.MULTILINE)
    assert row, done.stdout
    assert float(row[1]) > 0
    assert re.search(r"measured peaks of all threads: \d+ GFLOP/s float32, \d+ GB/s", done.stdout)


def test_prints_a_grid_of_processes() -> None:
    """Beside its imports a process that trains holds at least the weights and Adam's means."""
    done = bench("--workloads", "wide", "--frameworks", "chainrule_eager", "--tables", "memory")
    assert done.returncode == 0, done.stderr
    row = re.search(r"^ *wide +([\d.]+) / ([\d.]+)$", done.stdout, re.MULTILINE)
    assert row, done.stdout
    assert min(map(float, row.groups())) > 12 * parameters(WORKLOADS["wide"]) / 1e6


def test_refuses_unknown_names() -> None:
    done = bench("--workloads", "tiny,huge")
    assert done.returncode == 2
    assert "'huge' is none of tiny, mnist, wide, cnn, gpt" in done.stderr


def test_what_cannot_be_timed_is_told_and_the_rest_goes_on() -> None:
    done = bench(
        "--workloads", "tiny-1,mnist-1", "--frameworks", "torch_fused", "--tables", "inference"
    )
    assert done.returncode == 1
    assert "tiny-1: no framework of this table was asked for and is installed" in done.stdout
    assert "mnist-1: no framework of this table was asked for and is installed" in done.stderr


def test_the_first_loss_is_that_of_the_written_network() -> None:
    x, targets = data(WORKLOADS["tiny"])
    w = {name: array.astype(np.float64) for name, array in weights(WORKLOADS["tiny"]).items()}
    hidden = np.maximum(x @ w["0.weight"].T + w["0.bias"], 0)
    logits = hidden @ w["2.weight"].T + w["2.bias"]
    expected = np.mean(np.log(np.exp(logits).sum(1)) - logits[range(32), targets])
    worker = Worker("chainrule_eager", "tiny")
    try:
        losses = worker.ask("results")
    finally:
        worker.stop()
    assert losses[0] == pytest.approx(expected, rel=1e-5)
    assert losses[0] > losses[1] > losses[2]


TRAINED = {**WORKLOADS, "lstm": ALL["lstm"]}


@pytest.mark.parametrize("workload", TRAINED.values(), ids=TRAINED)
def test_chainrule_has_the_weights_of_each_workload(workload) -> None:
    from benchmarks.network import network
    from chainrule import nn

    model = network(workload, nn, nn)
    shapes = {name: array.shape for name, array in model.state_dict().items()}
    assert shapes == workload.shapes()


def test_losses_that_differ_are_named() -> None:
    assert disagreement({"a": [2.3, 2.2], "b": [2.3001, 2.2001]}) is None
    told = disagreement({"a": [2.3, 2.2], "b": [2.3, 2.2], "c": [2.3, 2.21]})
    assert told is not None
    assert "c                  ['2.3', '2.21']" in told
    assert disagreement({"a": [2.3], "b": [float("nan")]}) is not None


def test_the_interval_is_that_of_the_order_statistics() -> None:
    """For a sample's median an interval is known without drawing: by the binomial distribution the
    second smallest and the second largest of nine hold it with 96 %."""
    rounds = np.array([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8])
    found = ratio(rounds * 2, np.full(9, 2.0))
    assert found.median == pytest.approx(1.4)
    assert 1.1 <= found.low <= 1.2
    assert 1.6 <= found.high <= 1.7
    assert str(ratio([3.0], [2.0])) == "1.50 [1.50, 1.50]"


def test_memory_grows_by_what_is_held_at_most() -> None:
    # In a process of its own: here, memory that was freed may be taken again.
    code = (
        "import numpy as np; from benchmarks import memory; "
        "np.ones(1 << 24); "  # an earlier peak does not count
        "print(memory.growth(lambda: np.ones(1 << 22)))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert int(done.stdout) == pytest.approx(8 << 22, rel=0.1)


def test_a_package_without_a_checkout_times_its_own_steps(monkeypatch, capsys, tmp_path) -> None:
    from chainrule.cli import bench

    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "STEPS", {"small": ((8, 4, 2), 3)})
    monkeypatch.setattr(bench, "TURN", 0.001)
    assert bench.run() == 0
    told = capsys.readouterr().out
    assert re.search(r"peaks of \d+ threads: \d+ GFLOP/s float32, \d+ GB/s", told)
    assert re.search(r"^small: MLP 8-4-2, batch 3 +[\d.]+ +[\d.]+$", told, re.MULTILINE)
