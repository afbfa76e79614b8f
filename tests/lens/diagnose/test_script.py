"""Scripts of chainrule, run unchanged, watched and diagnosed; and changes written into scripts."""

import ast
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import chainrule.lens.diagnose.watch as watching
from chainrule import nn, optim
from chainrule.errors import DataError
from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.diagnose import setup_of
from chainrule.lens.diagnose.diagnosis import Diagnosis
from chainrule.lens.diagnose.examine import examine
from chainrule.lens.diagnose.finding import Change
from chainrule.lens.diagnose.script import run_script
from chainrule.lens.diagnose.script.child import diagnosed
from chainrule.lens.diagnose.script.diff import diff_of

SCRIPT = """\
import numpy as np

import chainrule as cr
from chainrule import nn, optim

cr.seed(0)
rng = np.random.default_rng(0)
X = rng.normal(size=(128, 4)).astype(np.float32)
y = (X[:, 0] > 0).astype(int)

model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
optimizer = optim.Adam(model.parameters(), lr=0.02)


def step(x, y):
    loss = nn.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


def train(epochs=30):
    for epoch in range(epochs):
        for i in range(0, 128, 16):
            loss = step(cr.asarray(X[i : i + 16]), cr.asarray(y[i : i + 16]))
    print("the loss is", loss.item())


if __name__ == "__main__":
    train()
"""
SOFTMAX = ("nn.Linear(8, 2))", "nn.Linear(8, 2), nn.Softmax(-1))")


def altered(*pairs: tuple[str, str]) -> str:
    text = SCRIPT
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Diagnoses a script in this process, by the rules that need no training."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(watching, "examine", lambda case, _: examine(case, ("static", "live")))

    def diagnose(text: str, seconds: float = 60.0) -> Diagnosis:
        script = tmp_path / "train.py"
        script.write_text(text)
        return diagnosed(
            {"script": str(script), "args": [], "budget": 0.0, "seconds": seconds,
             "memory": None, "rules": []}
        )  # fmt: skip

    return diagnose


@pytest.mark.parametrize("compiled", [False, True])
def test_a_healthy_script(run: Any, compiled: bool) -> None:
    found = run(altered(("def step", "@cr.compile\ndef step")) if compiled else SCRIPT)
    assert found.healthy, str(found)
    assert found.trace.steps == 240
    assert found.about["optimizer"] == "Adam(lr=0.02)"


FAULTS = {
    "double softmax": ([SOFTMAX], "double-softmax", "3"),
    "sign": ([("loss.backward()", "(-loss).backward()")], "wrong-sign", None),
    "not held": (
        [("model.parameters()", "model[2].parameters()")], "frozen-parameters", None,
    ),
    "broadcast": (
        [("nn.cross_entropy(model(x), y)", "((model(x)[:, :1] - y) ** 2).mean()")],
        "broadcast-accident", None,
    ),
    "crash": ([("nn.Linear(8, 2)", "nn.Linear(7, 2)")], "broadcast-accident", "train.py:16"),
    "never": ([("    train()\n", "    pass\n")], "no-training", "train.py"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_faults(case: str, run: Any) -> None:
    pairs, rule, where = FAULTS[case]
    found = run(altered(*pairs))
    assert found.findings[0].rule == rule, str(found)
    assert where in (None, found.findings[0].where)


def test_the_time_is_over(run: Any) -> None:
    found = run(altered(("epochs=30", "epochs=10**9")), seconds=1.0)
    assert found.findings[-1].rule == "script-stopped"
    assert found.trace.steps > 10
    assert signal.getsignal(signal.SIGALRM) in (signal.SIG_DFL, signal.Handlers.SIG_DFL)


def test_in_a_process_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    script = tmp_path / "train.py"
    script.write_text(altered(SOFTMAX))
    rule = tmp_path / "rule.py"
    rule.write_text(
        "from chainrule.lens.diagnose import Finding, Rule\n\n\n"
        "class Own(Rule):\n    name = 'own-rule'\n    stage = 'static'\n\n"
        "    def look(self, case):\n"
        "        yield Finding(self.name, 'x', 'seen', severity='advice')\n"
    )  # fmt: skip
    found = run_script(script, budget=0, rules=[rule])
    assert found.findings[0].rule == "double-softmax"
    assert "-model = nn.Sequential(" in found.findings[0].diff
    assert found["own-rule"].claim == "seen"
    assert "the loss is" in capfd.readouterr().out
    assert script.read_text() == altered(SOFTMAX)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os\nos._exit(4)\n", "ended its own process with status 4"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "SIGKILL"),
    ],
)
def test_a_process_that_ends_without_a_word(tmp_path: Path, text: str, said: str) -> None:
    script = tmp_path / "train.py"
    script.write_text(text)
    found = run_script(script, budget=0)
    assert [f.rule for f in found.findings] == ["script-error"]
    assert said in found.findings[0].claim


def test_memory_is_limited(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import numpy as np\nx = np.ones(10**9)\n")
    found = run_script(script, budget=0, memory=2**31)
    assert [(f.rule, f.where) for f in found.findings] == [("script-error", "train.py:2")]
    assert "memory" in found.findings[0].cause


def test_there_is_no_such_script(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no script"):
        run_script(tmp_path / "none.py")


# Changes written into a script


def setup() -> Any:
    model = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 2), nn.Softmax(-1))
    data = ([[0.0] * 4] * 20, [0, 1] * 10)
    return setup_of(
        model, data, loss=nn.cross_entropy, optimizer=optim.SGD(model.parameters(), lr=0.1)
    )


PLAIN = """\
lr = 0.1
net = nn.Sequential(
    nn.Linear(4, 8),
    nn.Sigmoid(),  # é
    nn.Linear(8, 2), nn.Softmax(-1),
)
opt = optim.SGD(net.parameters(), lr=lr, momentum=0.9)
for epoch in range(10):
    for x, y in batches(table, batch_size=32):
        loss = nn.mse_loss(net(x), y, reduction="sum")
        (-loss).backward()
        opt.step()
"""
WRITTEN = [
    (changes.set_rate(0.003), ["-lr = 0.1", "+lr = 0.003"]),
    (
        changes.set_decay(0.01),
        ["+opt = optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=0.01)"],
    ),
    (
        changes.set_options(momentum=0.5),
        ["+opt = optim.SGD(net.parameters(), lr=lr, momentum=0.5)"],
    ),
    (changes.use_optimizer("Adam", lr=0.001), ["+opt = optim.Adam(net.parameters(), lr=0.001)"]),
    (changes.use_loss("cross_entropy"), ["+        loss = nn.cross_entropy(net(x), y)"]),
    (changes.mean_reduction(), ['+        loss = nn.mse_loss(net(x), y, reduction="mean")']),
    (
        changes.remove_module("3"),
        ["-    nn.Linear(8, 2), nn.Softmax(-1),", "+    nn.Linear(8, 2),"],
    ),
    (changes.replace_module("1", "ReLU"), ["-    nn.Sigmoid(),  # é", "+    nn.ReLU(),  # é"]),
    (changes.use_activation("Tanh", ["1"]), ["+    nn.Tanh(),  # é"]),
    (changes.insert_after("0", "BatchNorm1d", 8), ["+    nn.Linear(4, 8), nn.BatchNorm1d(8),"]),
    (changes.insert_before("0", "Flatten"), ["+    nn.Flatten(), nn.Linear(4, 8),"]),
    (changes.set_batch_size(8), ["+    for x, y in batches(table, batch_size=8):"]),
    (changes.train_longer(4), ["+for epoch in range(40):"]),
    (changes.clear_gradients(), ["+        opt.zero_grad()"]),
    (changes.descend(), ["-        (-loss).backward()", "+        loss.backward()"]),
    (changes.clip_gradients(1.0), ["+        optim.clip_grad_norm_(net.parameters(), 1)"]),
    (
        changes.combine(changes.set_rate(0.5), changes.remove_module("3")),
        ["+lr = 0.5", "+    nn.Linear(8, 2),"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "lines"), WRITTEN, ids=lambda v: getattr(v, "kind", ""))
def test_a_change_is_written_into_the_script(change: Change, lines: list[str]) -> None:
    diff = diff_of(change, PLAIN, "train.py", setup())
    for line in lines:
        assert line in diff.splitlines()
    ast.parse(patched(PLAIN, diff))


def patched(source: str, diff: str) -> str:
    """The source with a unified diff applied, as `patch` would."""
    lines, out, at = source.splitlines(), [], 0
    for row in diff.splitlines()[2:]:
        if row.startswith("@@"):
            start = int(row.split()[1].lstrip("-").split(",")[0]) - 1
            out += lines[at:start]
            at = start
        elif row.startswith("+"):
            out.append(row[1:])
        else:
            assert lines[at] == row[1:]
            at += 1
            out += [] if row.startswith("-") else [row[1:]]
    return "\n".join([*out, *lines[at:]])


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("a = optim.SGD(p, lr=1)\nb = optim.SGD(q, lr=1)\n", changes.set_rate(0.1)),
        ("net = build()\n", changes.remove_module("3")),
        ("def f(:\n", changes.set_rate(0.1)),
        (PLAIN, changes.standardise_inputs()),
        (PLAIN, changes.remove_module("2.1")),
        (PLAIN.replace("nn.Softmax(-1)", "nn.Tanh()"), changes.remove_module("3")),
    ],
)
def test_what_is_not_found_for_sure_is_not_written(source: str, change: Change) -> None:
    assert diff_of(change, source, "train.py", setup()) == ""


def test_a_module_that_stands_under_a_name() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 2)
            self.squash = nn.Softmax(-1)

        def forward(self, x: Any) -> Any:
            return self.squash(self.body(x))

    source = "class Net:\n    def __init__(self):\n        self.squash = nn.Softmax(-1)\n"
    made = setup_of(Net(), ([[0.0] * 4] * 20, [0, 1] * 10), loss=nn.cross_entropy)
    diff = diff_of(changes.remove_module("squash"), source, "train.py", made)
    assert "+        self.squash = nn.Identity()" in diff
