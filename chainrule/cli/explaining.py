"""What `chainrule explain` is asked, and by which function it is answered."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from chainrule.cli.rows import explain_row
from chainrule.errors import DataError
from chainrule.lens.explain import Derivation, Explanation, Section, Step
from chainrule.train import Run, read_run

AUDITS = ("mazur", "misconceptions")
"""What is explained without a run, each by the function of this name in the module of this name."""
PARTS = {
    "forward": "Forward pass",
    "loss": "Loss",
    "backward": "Backward pass",
    "update": "Update",
}


@dataclass(frozen=True)
class Question:
    """What is asked about a row; nothing of it asks for the four parts.

    Attributes:
        parts: which of the `PARTS`.
        weight: such as `2.weight[3, 17]`.
        neuron: such as `0[5]`.
        attention: such as `layers.0[1, 3]`: head 1, position 3.
        opened: the name of a step, such as `a3`.
        probability, bayes, shapes: whether it is asked.
    """

    parts: tuple[str, ...] = ()
    weight: str | None = None
    neuron: str | None = None
    attention: str | None = None
    opened: str | None = None
    probability: bool = False
    bayes: bool = False
    shapes: bool = False


def answer(
    subject: str | None,
    row: int,
    question: Question,
    *,
    optimizer: str | None = None,
    training: bool = False,
) -> Derivation:
    """The derivation that answers; of a run, its summary begins with what the row is.

    Args:
        subject: a run folder, or one of `AUDITS`; the newest run where it is left out.

    Raises:
        DataError: there is no such run, row, module, weight, …
    """
    if subject in AUDITS and not Path(subject).exists():
        if question != Question():
            raise DataError(f"{subject} is one derivation; questions are asked of a run")
        module = importlib.import_module(f"chainrule.lens.explain.audit.{subject}")
        found: Derivation = getattr(module, subject)()
        return _own_lines_left_out(found)
    run = read_run(newest() if subject is None else subject)
    about, explanation = explain_row(run, row, optimizer=optimizer, training=training)
    derivations = list(_answers(run, explanation, question))
    found = _together(derivations, explanation) if derivations else explanation
    return _own_lines_left_out(replace(found, summary=(*about, *found.summary)))


def newest(root: Path = Path("runs")) -> Path:
    """The run folder that was written last.

    Raises:
        DataError: there is none.
    """
    found = [path for path in root.glob("*/config.toml") if not path.parent.name.startswith(".")]
    if not found:
        raise DataError(
            f"there is no run in {root}/. `chainrule demo` or `chainrule fit` makes one; or name a "
            f"run folder, or {' or '.join(AUDITS)}"
        )
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent


def _answers(run: Run, explanation: Explanation, question: Question) -> Iterator[Derivation]:
    network = run.network
    classes = None
    if network.target.task == "classes":
        classes = [str(label) for label in network.target.classes.tolist()]
    if question.parts:
        titles = {PARTS[part] for part in question.parts}
        sections = tuple(s for s in explanation.sections if s.title in titles)
        yield Derivation(explanation.title, sections, explanation.given)
    if question.weight is not None:
        yield explanation.weight(question.weight)
    if question.neuron is not None:
        module, unit = _place(question.neuron, "--neuron", "0[5]")
        first = next(iter(dict(network.model.named_parameters()))).rpartition(".")[0]
        inputs = network.encoder.feature_names_out if module == first else None
        yield explanation.neuron(module, unit if len(unit) > 1 else unit[0], inputs=inputs)
    if question.attention is not None:
        module, where = _place(question.attention, "--attention", "layers.0[1, 3]")
        if len(where) != 2:
            raise DataError("--attention takes a head and a position, as in layers.0[1, 3]")
        yield explanation.attention(module, head=where[0], position=where[1])
    if question.opened is not None:
        yield explanation.open(question.opened)
    if question.probability:
        yield explanation.probability(classes=classes)
    if question.bayes:
        yield _bayes(run, explanation, classes)
    if question.shapes:
        yield explanation.shapes()


def _bayes(run: Run, explanation: Explanation, classes: list[str] | None) -> Derivation:
    """What the answer that this row was given means, by the answers that the test rows were."""
    from chainrule.lens.explain.questions.bayes import bayes, confusion_matrix

    if classes is None:
        raise DataError("--bayes asks what the name of a class means, and this target is a number")
    network = run.network
    test = run.table.take(run.split().test)
    outputs, _ = network.outputs(test)
    true = network.target.transform(test[run.config["data"]["target"]])
    counts = confusion_matrix(true, outputs.argmax(1), count=len(classes))
    output = explanation.recorded.output
    assert output is not None
    assert output.value is not None
    return bayes(counts, positive=int(output.value[0].argmax()), classes=classes)


def _place(text: str, option: str, example: str) -> tuple[str, tuple[int, ...]]:
    """(module, indices) of `MODULE[INDEX, …]`."""
    match = re.fullmatch(r"\s*([^\[\]]*?)\s*\[\s*(-?\d+(?:\s*,\s*-?\d+)*)\s*\]\s*", text)
    if match is None:
        raise DataError(f"{option} {text!r}: write a module and what in it, as in {example}")
    return match.group(1), tuple(int(part) for part in match.group(2).split(","))


def _together(derivations: list[Derivation], explanation: Explanation) -> Derivation:
    """One derivation of the sections of several, to which values of the others are given."""
    title = ", ".join(found.title for found in derivations)
    sections = tuple(section for found in derivations for section in found.sections)
    summary = tuple(line for found in derivations for line in found.summary)
    whole = Derivation(title, sections, summary=summary)
    used = {name for step in whole.steps for name in step.operands}
    own = {step.name for step in whole.steps}
    given = {name: array for found in derivations for name, array in found.given.items()}
    for step in explanation.steps:
        if step.value is not None and step.name in used - own:
            given[step.name] = step.value
    return replace(whole, given=given)


def _own_lines_left_out(derivation: Derivation) -> Derivation:
    """The line that called the network is this program's own, and tells its user nothing."""

    def without(part: Section | Step) -> Section | Step:
        if isinstance(part, Section):
            return replace(part, parts=tuple(without(inner) for inner in part.parts))
        return replace(part, place="", code="")

    sections = tuple(
        replace(section, parts=tuple(map(without, section.parts)))
        for section in derivation.sections
    )
    return replace(derivation, sections=sections)


def failures(derivation: Derivation) -> Iterator[str]:
    """A line for each claim that does not hold, and for the tear-out proof if it does not."""
    for step in derivation.steps:
        for check in step.checks:
            if not check.holds:
                yield f"{step.name}: {check}"
    with tempfile.TemporaryDirectory() as folder:
        path = derivation.save(Path(folder) / "proof.py")
        done = subprocess.run(
            [sys.executable, "-I", str(path)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        yield f"the tear-out proof: {done.stderr.strip().splitlines()[-1]}"
