"""What is interpreted, as arrays: the rows asked about, held-out rows, training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.lens.interpret.subjects import Subject, subject_of
from chainrule.lens.interpret.subjects.subject import Reading, probabilities_from
from chainrule.lens.interpret.view import View
from chainrule.probability.calibration.given import array_of, labels_of, probabilities_of

LEAST = 1e-12
"""Probabilities are not taken to be smaller where their logarithm is needed."""


@dataclass(frozen=True)
class Rows:
    """Rows with their outputs and, where they are known, their targets.

    Attributes:
        given: as the user handed them over.
        x: as the network takes them; None of bare probabilities.
        outputs: (n, K).
        y: (n,), class codes, or real targets in the network's unit.
    """

    given: Any
    x: np.ndarray | None
    outputs: np.ndarray
    y: np.ndarray | None

    def __len__(self) -> int:
        return len(self.outputs)


@dataclass(frozen=True)
class Case:
    """Attributes:
    view: what stands between the user's rows and the network.
    subject: the network; None of bare probabilities.
    reading: what outputs are.
    classes: labels in the order of codes; () of a real target.
    asked, held, trained: the rows asked about; those nothing was learnt from; those that the
        network was trained on. None where they were not given.
    """

    view: View
    subject: Subject | None
    reading: Reading
    classes: tuple[str, ...]
    asked: Rows
    held: Rows | None
    trained: Rows | None

    @property
    def real(self) -> bool:
        return self.reading == "values"

    def probabilities(self, rows: Rows) -> np.ndarray:
        """(n, K)."""
        return probabilities_from(rows.outputs, self.reading)

    def logits(self, rows: Rows) -> np.ndarray:
        """(n, K), ln p: logits without the constant that softmax takes away, so that nothing hangs
        on it and bare probabilities give the same."""
        from scipy.special import log_softmax

        if self.reading == "logits":
            found: np.ndarray = log_softmax(rows.outputs, 1)
            return found
        return np.log(np.clip(self.probabilities(rows), LEAST, 1.0))

    def cells(self) -> dict[str, list[str]]:
        """Column → what stands there in the rows asked about, as text."""
        if self.view.cells is not None:
            return self.view.cells(self.asked.given)
        x = self.asked.x
        if x is None or x.ndim < 2:
            return {}
        flat = x.reshape(len(x), -1)
        return {
            name: [f"{v:.6g}" for v in flat[:, j].astype(np.float64)]
            for name, (j,) in self.columns()
        }

    def columns(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """(name, places among the flattened features)."""
        if self.view.columns:
            return self.view.columns
        x = self.asked.x
        if x is None or x.ndim < 2:
            return ()
        names = (
            (f"x{j}" if x.ndim == 2 else str(list(index)) for j, index in
             enumerate(np.ndindex(*x.shape[1:])))
        )  # fmt: skip
        return tuple((name, (j,)) for j, name in enumerate(names))


def case_of_network(
    view: View, x: Any, held: Any, trained: Any, reading: Reading | None, y: Any = None
) -> Case:
    """The case of a network and its rows; y are the targets of x, where they are known.

    Raises:
        DTypeError: (X, y) that are no pair.
        ShapeError, DataError: rows that do not fit the network, or each other.
    """
    pairs = {"calibration": _pair(held, "calibration"), "training": _pair(trained, "training")}
    encoded = _checked(view.encode(x), "x")
    some = next((targets for _, targets in filter(None, pairs.values())), y)
    codes = None if some is None else view.targets(some)
    if view.classes and codes is not None:
        codes = np.asarray(codes)
    subject = subject_of(view.model, encoded, reading=reading, y=codes)
    outputs = array_of(subject.outputs(encoded), "the network's output for x")
    real = subject.task == "real"
    if real and outputs.shape[1] > 1:
        raise ShapeError(
            f"the network gives {outputs.shape[1]} real outputs a row, and interpret reads one; "
            "write a module around it that gives one of them. Are they of classes, the targets "
            "are codes, 0 and on"
        )
    count = 0 if real else len(subject.probabilities(encoded[:1])[0])
    classes = view.classes or tuple(map(str, range(count)))
    if not real and len(classes) != count:
        raise ShapeError(f"the network gives {count} classes, and {len(classes)} names are given")
    parts: dict[str, Rows | None] = dict.fromkeys(pairs)
    for name, pair in pairs.items():
        if pair is None:
            continue
        inputs = _checked(view.encode(pair[0]), name)
        targets = _targets(view, pair[1], classes, len(inputs), real, name)
        answers = array_of(subject.outputs(inputs), f"the network's output for {name}")
        parts[name] = Rows(pair[0], inputs, answers, targets)
    known = None if y is None else _targets(view, y, classes, len(encoded), real, "x")
    asked = Rows(x, encoded, outputs, known)
    return Case(view, subject, subject.reading, classes, asked, *parts.values())


def case_of_probabilities(view: View, p: Any, held: Any, y: Any = None) -> Case:
    """The case of bare probabilities (rows, classes), and (probabilities, labels) held out."""
    found = _checked(probabilities_of(p), "the table of probabilities")
    pair = _pair(held, "calibration")
    classes = view.classes or tuple(map(str, range(found.shape[1])))
    rows = None
    if pair is not None:
        apart = probabilities_of(pair[0], "calibration probabilities")
        if apart.shape[1] != found.shape[1]:
            raise ShapeError(
                f"calibration has {apart.shape[1]} classes, and the rows asked about have "
                f"{found.shape[1]}"
            )
        targets = _targets(view, pair[1], classes, len(apart), False, "calibration")
        rows = Rows(pair[0], None, apart, targets)
    known = None if y is None else _targets(view, y, classes, len(found), False, "x")
    asked = Rows(p, None, found, known)
    return Case(view, None, "probabilities", classes, asked, rows, None)


def _pair(given: Any, name: str) -> tuple[Any, Any] | None:
    if given is None:
        return None
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise DTypeError(f"{name} is a pair of inputs and targets: {name}=(X, y)")
    return given[0], given[1]


def _checked(x: np.ndarray, name: str) -> np.ndarray:
    if x.ndim < 2 and x.dtype.kind == "f":
        raise ShapeError(
            f"{name} has the shape {x.shape}; it is (rows, features). Of one row x write x[None]"
        )
    if not len(x):
        raise DataError(f"{name} has no row")
    if x.dtype.kind == "f":
        array_of(x, name)
    return x


def _targets(
    view: View, y: Any, classes: tuple[str, ...], rows: int, real: bool, name: str
) -> np.ndarray:
    if real:
        mean, std = view.scale
        found = array_of(view.targets(y), f"{name} targets").reshape(-1)
        if len(found) != rows:
            raise ShapeError(f"{name}: there are {rows} rows, and {len(found)} targets")
        return np.asarray((found - mean) / std)
    values = view.targets(y)
    if np.asarray(values).dtype.kind in "UO":
        names = {label: code for code, label in enumerate(classes)}
        unknown = [v for v in np.asarray(values).tolist() if str(v) not in names]
        if unknown:
            raise DataError(
                f"{name}: {unknown[0]!r} is no class; there are {', '.join(classes[:10])}"
            )
        values = np.array([names[str(v)] for v in np.asarray(values).tolist()])
    return labels_of(values, len(classes), rows, f"{name} labels")
