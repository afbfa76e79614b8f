"""Scripts of PyTorch, run unchanged, watched and diagnosed."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import chainrule.lens.diagnose.watch as watching
from chainrule.lens.diagnose.diagnosis import Diagnosis
from chainrule.lens.diagnose.examine import examine
from chainrule.lens.diagnose.script import run_script
from chainrule.lens.diagnose.script.child import diagnosed

SCRIPT = """\
import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
X = torch.randn(192, 6)
y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
real = X[:, :1] - 2 * X[:, 1:2]

model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
loss_fn = nn.CrossEntropyLoss()
epochs = 12


def train():
    for epoch in range(epochs):
        for i in range(0, 192, 32):
            optimizer.zero_grad()
            out = model(X[i : i + 32])
            loss = loss_fn(out, y[i : i + 32])
            loss.backward()
            optimizer.step()
    print("the loss is", loss.item())


if __name__ == "__main__":
    train()
"""


def altered(*changes: tuple[str, str]) -> str:
    text = SCRIPT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


REGRESSION = (
    ("nn.Linear(16, 3)", "nn.Linear(16, 1)"), ("CrossEntropyLoss", "MSELoss"),
    ("y[i : i + 32]", "real[i : i + 32]"),
)  # fmt: skip
LISTED = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = [nn.Linear(6, 16), nn.Linear(16, 16)]
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.head(x)


model = Net()
"""
MODEL = "model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Diagnoses a script in this process, which is what the script's own process does."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.chdir(tmp_path)

    def diagnose(text: str, *, args: tuple[str, ...] = (), seconds: float = 60.0) -> Diagnosis:
        script = tmp_path / "train.py"
        script.write_text(text)
        asked = {"script": str(script), "args": list(args), "budget": 0.0, "seconds": seconds,
                 "memory": None, "rules": []}  # fmt: skip
        return diagnosed(asked)

    return diagnose


def test_a_healthy_script(run: Any, capsys: pytest.CaptureFixture) -> None:
    found = run(altered(("epochs = 12", "epochs = 60"), ("lr=0.01", "lr=0.02")))
    assert found.healthy, str(found)
    assert found.trace.steps == 360
    assert capsys.readouterr().out.startswith("the loss is")
    assert found.about["optimizer"] == "Adam(lr=0.02)"


FAULTS = {
    "stale": ([("            optimizer.zero_grad()\n", ""), ("optim.Adam", "optim.SGD")],
              "stale-gradients", "+            optimizer.zero_grad()"),
    "sign": ([("loss.backward()", "(-loss).backward()")],
             "wrong-sign", "+            loss.backward()"),
    "maximize": ([("lr=0.01", "lr=0.01, maximize=True")],
                 "wrong-sign", "maximize=False)"),
    "double softmax": ([("nn.Linear(16, 3))", "nn.Linear(16, 3), nn.Softmax(dim=1))")],
                       "double-softmax", "nn.ReLU(), nn.Linear(16, 3))"),
    "broadcast": ([*REGRESSION, ("real[i : i + 32]", "real[i : i + 32, 0]"),
                   ("loss_fn(out, ", "F.mse_loss(out, ")],
                  "broadcast-accident", None),
    "rate": ([("lr=0.01", "lr=50.0")], "learning-rate-too-high", "lr=50.0)"),
    "plain list": ([(MODEL, LISTED)], "unreached-parameters", None),
    "not held": ([("model.parameters()", "model[2].parameters()")], "frozen-parameters", None),
    "NaN": ([("real = ", "X[3, 2] = float('nan')\nreal = ")], "non-finite", None),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("case", FAULTS)
def test_faults_of_a_loop(case: str, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, rule, diff = FAULTS[case]
    if case != "rate":  # only that takes rules that train
        monkeypatch.setattr(watching, "examine", lambda case, _: examine(case, ("static", "live")))
    found = run(altered(*changes))
    assert not found.healthy
    assert found.findings[0].rule == rule, str(found)
    if diff is not None:
        shown = found.findings[0].diff
        assert shown.startswith("--- train.py\n+++ train.py\n@@")
        assert diff in shown


def test_a_script_that_crashes(run: Any, capsys: pytest.CaptureFixture) -> None:
    found = run(altered(("nn.Linear(16, 3)", "nn.Linear(15, 3)")))
    first = found.findings[0]
    assert (first.rule, first.where, first.severity) == (
        "broadcast-accident", "train.py:22", "error",
    )  # fmt: skip
    assert "in module 2" in first.claim
    assert first.evidence[0].value == "out = model(X[i : i + 32])"
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last):\n  File")
    assert "diagnose" not in shown


@pytest.mark.parametrize(
    ("text", "rule", "where"),
    [
        ("import torch\n1 / 0\n", "script-error", "train.py:2"),
        ("def f(:\n", "script-error", "train.py:1"),
        ("import torch\ntorch.optim.SGD([], lr=1)\n", "unreached-parameters", "train.py:2"),
        ("import sys\nsys.exit(3)\n", "script-error", "train.py:2"),
        ("x = bytes(10**18)\n", "script-error", "train.py:1"),
        ("print(1)\n", "no-training", "train.py"),
        (altered(("    train()\n", "    model(X)\n")), "no-training", "train.py"),
        (altered(("loss.backward()", "pass"), ("optimizer.step()", "pass")),
         "no-training", "train.py"),
    ],
)  # fmt: skip
def test_scripts_that_train_nothing(text: str, rule: str, where: str, run: Any) -> None:
    found = run(text)
    assert [(f.rule, f.where) for f in found.findings] == [(rule, where)]
    json.dumps(found.to_dict())


def test_a_script_that_trains_for_hours(run: Any) -> None:
    text = altered(
        ("epochs = 12", "epochs = 10**9"),
        (
            "def train():\n",
            "def train():\n    try:\n        forever()\n    except Exception:\n        pass\n\n\n"
            "def forever():\n",
        ),
    )  # fmt: skip
    found = run(text, seconds=2.0)
    assert found.findings[-1].rule == "script-stopped"
    assert found.healthy, str(found)
    assert found.trace.steps > 50
    assert not found.trace.finished


def test_arguments_and_the_main_model(run: Any) -> None:
    found = run(
        altered(
            ("epochs = 12", "epochs = int(sys.argv[1])"),
            (
                "def train():\n",
                "other = nn.Linear(6, 1)\nof_other = torch.optim.SGD(other.parameters(), lr=0.1)\n"
                "for _ in range(3):\n    F.mse_loss(other(X), real).backward()\n"
                "    of_other.step()\n    of_other.zero_grad()\n\n\ndef train():\n",
            ),
        ),
        args=("5",),
    )
    assert found.trace.steps == 30  # of the larger model, whose training was longer
    assert found.about["parameters"] == 163


def test_in_a_process_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "helper.py").write_text("RATE = 0.01\n")
    script = folder / "train.py"
    text = altered(
        ("import sys\n", "import os\nimport sys\n\nfrom helper import RATE\n"),
        ("lr=0.01", "lr=RATE"),
        ("nn.Linear(16, 3))", "nn.Linear(16, 3), nn.Softmax(dim=1))"),
        ("    train()\n", '    train()\n    print(os.getcwd(), sys.argv, __file__)\n'),
    )  # fmt: skip
    script.write_text(text)
    found = run_script(script, ["--fast"], budget=0)
    assert found.findings[0].rule == "double-softmax"
    assert found.about["subject"] == str(script)
    assert f"{folder} ['{script}', '--fast'] {script}" in capfd.readouterr().out
    assert script.read_text() == text
    assert {p.name for p in folder.iterdir()} <= {"train.py", "helper.py", "__pycache__"}


def test_a_script_may_diagnose_for_itself(tmp_path):
    script = tmp_path / "own.py"
    script.write_text(
        "import torch, chainrule as cr\n"
        "from torch.nn import functional as F\n"
        "torch.manual_seed(0)\n"
        "x = torch.randn(48, 3); y = (x[:, 0] > 0).long()\n"
        "model = torch.nn.Linear(3, 2); optimizer = torch.optim.SGD(model.parameters(), lr=0.5)\n"
        "cr.diagnose(model, (x, y), loss=F.cross_entropy, optimizer=optimizer, epochs=1,\n"
        "            batch_size=16, budget=0)\n"
        "for _ in range(40):\n"
        "    optimizer.zero_grad(); F.cross_entropy(model(x), y).backward(); optimizer.step()\n"
    )
    found = run_script(script, budget=0)
    assert found.trace is not None
    assert found.trace.steps == 40
