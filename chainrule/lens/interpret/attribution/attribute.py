"""`attribute`: how much each part of the input adds to one output."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.lens.interpret.attribution import methods
from chainrule.lens.interpret.subjects import Subject, subject_of
from chainrule.lens.interpret.subjects.subject import rows_at_once
from chainrule.lens.interpret.view import view_of
from chainrule.probability.calibration.given import array_of
from chainrule.tensor.locate import explained

if TYPE_CHECKING:
    from chainrule.lens.interpret.attribution.sanity import Sanity

METHODS = tuple(m.name.replace("_", "-") for m in pkgutil.iter_modules(methods.__path__))
"""Each is a module of `methods`, and in it `attribution(asked, …)`."""
MOST_PARTS = 5000
"""So many parts are taken out one by one, at most."""


@dataclass(frozen=True)
class Asked:
    """What a method is asked: to split up one output of each row.

    Attributes:
        subject: the network.
        x: (n, …), rows.
        target: (n,), which output of each row.
        width: how many outputs there are.
        baseline: (b, …), rows that stand for "nothing is known".
        groups: places among the flattened features that belong together, such as those of a
            one-hot column; each feature for itself where none are given.
        seed: of what is drawn.
        tally: on how many rows the network was run, for "outputs" and for "gradients".
    """

    subject: Subject
    x: np.ndarray
    target: np.ndarray
    width: int
    baseline: np.ndarray
    groups: Sequence[Sequence[int]]
    seed: int
    tally: Counter[str] = field(default_factory=Counter)

    @property
    def at_once(self) -> int:
        """So many rows are made up at once, where a method asks about many."""
        return 4 * rows_at_once(self.x)

    def require_few_parts(self) -> None:
        """
        Raises:
            DataError: more parts than can be taken out one by one.
        """
        if len(self.groups) > MOST_PARTS:
            raise DataError(
                f"the rows have {len(self.groups)} parts, and each would be taken out by itself: "
                "put them together by groups=, such as patches((3, 224, 224), 16) of "
                f"{__package__}"
            )

    @cached_property
    def start(self) -> np.ndarray:
        """(…): the mean of the baseline, in the dtype of x where that is of floats."""
        found: np.ndarray = self.baseline.mean(0)
        return found.astype(self.x.dtype) if self.x.dtype.kind == "f" else found

    def output(self, x: np.ndarray, target: np.ndarray | None = None) -> np.ndarray:
        """(n,): the output that is split up, of other rows with the same targets."""
        self.tally["outputs"] += len(x)
        chosen = self.target if target is None else target
        found: np.ndarray = self.subject.outputs(x)[np.arange(len(x)), chosen]
        return found

    @cached_property
    def outputs(self) -> np.ndarray:
        """(n,): the output that is split up."""
        return self.output(self.x)

    @cached_property
    def base(self) -> np.ndarray:
        """(n,): the output at the mean of the baseline."""
        at_start: np.ndarray = self.subject.outputs(self.start[None].astype(self.x.dtype))[0]
        return at_start[self.target]

    @cached_property
    def background(self) -> np.ndarray:
        """(n,): the mean output over the rows of the baseline."""
        mean: np.ndarray = self.subject.outputs(self.baseline.astype(self.x.dtype)).mean(0)
        return mean[self.target]

    def gradient(self, x: np.ndarray, target: np.ndarray | None = None) -> np.ndarray:
        """∂ output_i / ∂ x_i, the shape of x."""
        self.tally["gradients"] += len(x)
        chosen = self.target if target is None else target
        return self.subject.gradient(x, np.eye(self.width)[chosen])

    def worth(self, coalitions: np.ndarray) -> np.ndarray:
        """(n, coalitions): v(S) = mean over the rows b of the baseline of F(x on S, b elsewhere).

        Args:
            coalitions: (coalitions, groups), True where a group is in S.
        """
        n, size = len(self.x), int(np.prod(self.x.shape[1:]))
        known = np.zeros((len(coalitions), size), bool)
        for g, group in enumerate(self.groups):
            known[:, list(group)] = coalitions[:, g, None]
        rows, background = self.x.reshape(n, size), self.baseline.reshape(-1, size)
        pairs = np.argwhere(np.ones((n, len(coalitions)), bool))
        found = np.empty(len(pairs))
        step = max(1, self.at_once // len(background))
        for at in range(0, len(pairs), step):
            i, c = pairs[at : at + step].T
            mixed = np.where(known[c][:, None], rows[i][:, None], background[None])
            flat = mixed.astype(self.x.dtype).reshape(-1, *self.x.shape[1:])
            out = self.output(flat, self.target[i].repeat(len(background)))
            found[at : at + step] = out.reshape(-1, len(background)).mean(1)
        return found.reshape(n, len(coalitions))

    def spread(self, amounts: np.ndarray) -> np.ndarray:
        """The shape of x: amounts (n, groups), shared out evenly over the places of each group."""
        values = np.zeros((len(self.x), int(np.prod(self.x.shape[1:]))))
        for g, group in enumerate(self.groups):
            values[:, list(group)] = amounts[:, g, None] / len(group)
        return values.reshape(self.x.shape)


@dataclass(frozen=True)
class Attribution:
    """How much each part of the input adds to the output.

    Attributes:
        method: its name.
        values: (n, …), the shape of the inputs.
        output, base: (n,), the output of each row, and at the baseline.
        meaning, not_meaning: what such numbers say, and what they do not.
        complete: whether base + Σ values = output by the method's definition.
        groups: places that belong together.
        columns: what the groups are called, where that is known.
        notes: what was measured on the way, such as standard errors, by name; of every method
            "outputs" and "gradients", the rows on which the network was run for either.
        subject: the network.
        again: the same question, asked of another network.
    """

    method: str
    values: np.ndarray
    output: np.ndarray
    base: np.ndarray
    meaning: str
    not_meaning: str
    complete: bool
    groups: Sequence[Sequence[int]] = ()
    columns: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    subject: Subject | None = field(default=None, repr=False, compare=False)
    again: Callable[[Subject], Attribution] | None = field(default=None, repr=False, compare=False)

    @property
    def error(self) -> np.ndarray:
        """(n,): |output − base − Σ values|, which completeness says is 0."""
        total = self.values.reshape(len(self.values), -1).sum(1)
        return np.abs(self.output - self.base - total)

    @property
    def amounts(self) -> np.ndarray:
        """(n, groups): summed over the places of each group."""
        flat = self.values.reshape(len(self.values), -1)
        found: np.ndarray = np.stack([flat[:, list(g)].sum(1) for g in self.groups], 1)
        return found

    @cached_property
    def sanity(self) -> Sanity:
        """Whether the amounts depend on the network's weights (Adebayo et al. 2018)."""
        from chainrule.lens.interpret.attribution.sanity import sanity

        return sanity(self)

    def to_dict(self) -> dict[str, Any]:
        return {
            "method": self.method, "values": self.values.tolist(),
            "amounts": self.amounts.tolist(), "columns": list(self.columns),
            "output": self.output.tolist(), "base": self.base.tolist(),
            "error": self.error.tolist(), "meaning": self.meaning,
            "not_meaning": self.not_meaning, "complete": self.complete, "notes": self.notes,
        }  # fmt: skip


@explained
def attribute(
    model: Any,
    x: Any,
    *,
    target: Any = None,
    method: str = "integrated-gradients",
    baseline: Any = None,
    groups: Sequence[Sequence[int]] | None = None,
    reading: Any = None,
    seed: int = 0,
    **options: Any,
) -> Attribution:
    """How much each part of the input adds to one output of a network.

    | method | amounts |
    |---|---|
    | `gradient-x-input` | (x − b) ∘ ∂F/∂x |
    | `integrated-gradients` | (x − b) ∘ ∫₀¹ ∂F/∂x (b + α(x − b)) dα; add up to F(x) − F(b) |
    | `smoothgrad` | (x − b) ∘ E ∂F/∂x (x + ε) |
    | `occlusion` | F(x) − E_b F(x without the part) |
    | `shapley` | what a part adds, averaged over all orders; add up to F(x) − E_b F(b) |
    | `grad-cam` | maps of the last convolution, weighted by their slopes |
    | `attention-rollout` | how much of each token comes through the layers of attention |

    Args:
        model: a network of chainrule's or of PyTorch's, a `Classifier` or `Regressor`.
        x: (n, …), rows.
        target: which output: a number, or one for each row; by default each row's largest.
        method: one of the table.
        baseline: rows that stand for "nothing is known", (b, …) or one of them; zeros if left out.
            Methods that follow a slope take their mean.
        groups: places among a row's flattened features that belong together, such as those of a
            one-hot column, or the pixels of a patch.
        reading: what the outputs are, see `interpret`; amounts do not depend on it.
        seed: of what is drawn.
        options: of the method.

    Returns the amounts with what they mean and do not mean; `.sanity` asks whether they depend on
    the weights at all.

    Raises:
        DataError: no such method, option or output.
        DTypeError: a method that needs derivatives, of whole-number inputs.

    >>> from chainrule import nn
    >>> import chainrule as cr
    >>> line = nn.Linear(2, 1, bias=False)
    >>> line.weight.assign(cr.asarray([[2.0, -1.0]]))
    >>> found = cr.attribute(line, np.array([[3.0, 4.0]]))
    >>> found.values, found.error
    (array([[ 6., -4.]]), array([0.]))
    """
    if method not in METHODS:
        raise DataError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    split: Callable[..., Attribution] = importlib.import_module(
        f"{methods.__name__}.{method.replace('-', '_')}"
    ).attribution
    known = [n for n in inspect.signature(split).parameters if n != "asked"]
    for name in options:
        if name not in known:
            raise DataError(
                f"{name!r} is no option of {method!r}; there are {', '.join(known) or 'none'}"
            )
    view = view_of(model, None, None)
    rows = _rows(view.encode(x), "x")
    subject = model if isinstance(model, Subject) else subject_of(view.model, rows, reading=reading)
    outputs = array_of(subject.outputs(rows), "the network's output")
    chosen = _target(target, outputs)
    start = np.zeros((1, *rows.shape[1:]), rows.dtype)
    if baseline is not None:
        start = _rows(_one_more(view.encode(baseline), rows), "the baseline")
    if start.shape[1:] != rows.shape[1:]:
        raise ShapeError(f"the baseline has the shape {start.shape}, and rows {rows.shape[1:]}")
    columns: tuple[str, ...] = ()
    if groups is None and view.columns:
        columns = tuple(name for name, _ in view.columns)
        groups = [places for _, places in view.columns]
    parts = _parts(groups, int(np.prod(rows.shape[1:])))
    asked = Asked(subject, rows, chosen, outputs.shape[1], start, parts, seed)

    def of(other: Subject) -> Attribution:
        now = replace(asked, subject=other, tally=Counter(outputs=0, gradients=0))
        found = split(now, **options)
        return replace(found, groups=parts, columns=columns, notes={**found.notes, **now.tally})

    return replace(of(subject), subject=subject, again=of)


def _one_more(given: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A single row of a baseline as rows."""
    array = np.asarray(given)
    return array[None] if array.shape == rows.shape[1:] else array


def _rows(x: Any, name: str) -> np.ndarray:
    rows = np.asarray(x)
    if rows.dtype.kind not in "fiub":
        raise DTypeError(f"a network takes numbers, and {name} holds {rows.dtype}")
    if rows.ndim < 2 or not rows.size:
        raise ShapeError(
            f"{name} has the shape {rows.shape}; it is (rows, …). Of one row x write x[None]"
        )
    if rows.dtype.kind == "f":
        array_of(rows, name)
    return rows


def _target(target: Any, outputs: np.ndarray) -> np.ndarray:
    if target is None:
        largest: np.ndarray = outputs.argmax(1)
        return largest
    n, width = outputs.shape
    found = np.asarray(target)
    if found.dtype.kind not in "iu" or found.shape not in ((), (n,)):
        raise DataError(f"target is {target!r}; it is the number of an output, or one for each row")
    if found.min() < 0 or found.max() >= width:
        raise DataError(f"target is {target!r}; outputs are numbered 0 to {width - 1}")
    return np.broadcast_to(found, (n,))


def _parts(groups: Sequence[Sequence[int]] | None, size: int) -> tuple[tuple[int, ...], ...]:
    if groups is None:
        return tuple((j,) for j in range(size))
    parts = tuple(tuple(int(j) for j in group) for group in groups)
    if sorted(j for g in parts for j in g) != list(range(size)) or not all(parts):
        raise DataError(f"groups name each of the {size} features once, and none is empty")
    return parts


def patches(shape: Sequence[int], size: int) -> list[list[int]]:
    """Groups of an image's places: squares of size × size pixels, all channels of them together.

    Args:
        shape: (channels, height, width), or (height, width).

    >>> patches((1, 2, 4), 2)
    [[0, 1, 4, 5], [2, 3, 6, 7]]
    """
    height, width = shape[-2:]
    number = np.arange(int(np.prod(shape))).reshape(-1, height, width)
    return [
        number[:, top : top + size, left : left + size].reshape(-1).tolist()
        for top in range(0, height, size)
        for left in range(0, width, size)
    ]
