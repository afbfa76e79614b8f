"""A chainrule network as the subject of an interpretation."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.calculus.jacobian import hvp
from chainrule.calculus.reverse import pull_back
from chainrule.calculus.transforms import grad, jvp, vjp
from chainrule.errors import DataError
from chainrule.lens.explain.questions.attending import attentions
from chainrule.lens.explain.record import record
from chainrule.lens.interpret.subjects.subject import (
    Losses,
    Reading,
    Subject,
    no_derivative,
    reading_of,
    rows_at_once,
    two_axes,
)
from chainrule.nn.functional import functional_call
from chainrule.nn.layers.convolution import Conv1d, Conv2d, Conv3d
from chainrule.nn.layers.linear import Linear
from chainrule.nn.module import Module, Parameter
from chainrule.nn.redraw import redraw
from chainrule.nn.undisturbed import undisturbed
from chainrule.ops.arithmetic import square
from chainrule.ops.exponential import log
from chainrule.ops.reduction import mean
from chainrule.ops.structure import reshape
from chainrule.probability.losses import binary_cross_entropy_with_logits, cross_entropy, nll_loss
from chainrule.tensor import debug
from chainrule.tensor.creation import asarray
from chainrule.tensor.graph import no_grad
from chainrule.tensor.products import on_one_thread
from chainrule.tensor.tensor import Tensor


class Ours(Subject):
    framework = "chainrule"

    def __init__(self, model: Module, x: np.ndarray, reading: Reading | None, y: Any) -> None:
        self.model = model
        first = next(iter(model.parameters()), None)
        self.dtype = None if first is None else first.dtype
        last = type(list(model.modules())[-1]).__name__
        self.reading = reading or reading_of(self.outputs(x[:8]), last, y)

    def _rows(self, x: np.ndarray) -> np.ndarray:
        array = np.asarray(x)
        cast = self.dtype is not None and array.dtype.kind == "f"
        return array.astype(self.dtype, copy=False) if cast else array

    def _parts(self, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        rows = self._rows(x)
        step = rows_at_once(rows)
        for start in range(0, max(len(rows), 1), step):
            part = slice(start, start + step)
            yield part, rows[part]

    def _smooth_parts(self, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        if np.asarray(x).dtype.kind != "f":
            raise no_derivative(np.asarray(x).dtype)
        return self._parts(x)

    def _called(self, rows: np.ndarray) -> np.ndarray:
        out = self.model(asarray(rows, copy=False))
        if not isinstance(out, Tensor):
            raise _no_tensor(out)
        return two_axes(np.array(out.numpy(), np.float64), len(rows))

    def outputs(self, x: np.ndarray) -> np.ndarray:
        with looked_at(self.model), no_grad():
            return np.concatenate([self._called(rows) for _, rows in self._parts(x)])

    def gradient(self, x: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        found = np.empty(np.shape(x), np.float64)
        with looked_at(self.model):
            for part, rows in self._smooth_parts(x):
                out, pull = vjp(lambda z: self.model(z), asarray(rows, copy=False))
                found[part] = pull(_seed(seeds[part], out))[0].numpy()
        return found

    def features(self, x: np.ndarray) -> np.ndarray:
        seen, found = _LastCall((Linear,)), []
        with looked_at(self.model), no_grad(), debug.observed(seen):
            for _, rows in self._parts(x):
                out = self._called(rows)
                taken = out if seen.taken is None else np.array(seen.taken.numpy(), np.float64)
                # A layer that is not called with a row each says nothing of single rows.
                found.append((taken if len(taken) == len(rows) else out).reshape(len(rows), -1))
        return np.concatenate(found)

    def maps(self, x: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen, maps, slopes = _LastCall((Conv1d, Conv2d, Conv3d)), [], []
        with looked_at(self.model), debug.observed(seen):
            for part, rows in self._smooth_parts(x):
                out = self.model(asarray(rows, requires_grad=True))
                if seen.result is None:
                    raise DataError(
                        f"{type(self.model).__name__} has no convolution whose maps could be shown"
                    )
                slope = pull_back(out, _seed(seeds[part], out), [seen.result], keep=False)[0]
                maps.append(np.array(seen.result.numpy(), np.float64))
                slopes.append(
                    np.zeros(maps[-1].shape) if slope is None else np.array(slope.numpy(), float)
                )
        return np.concatenate(maps), np.concatenate(slopes)

    def attention(self, x: np.ndarray) -> list[np.ndarray]:
        parts = []
        for _, rows in self._parts(x):
            found = [a.softmax.value for a in attentions(record(self.model, rows))]
            weights = [np.asarray(w, np.float64) for w in found if w is not None]
            parts.append([w[:, None] if w.ndim == 3 else w for w in weights])  # of one head
        if not parts[0]:
            raise DataError(
                f"no attention ran in {type(self.model).__name__}: no softmax over products of "
                "queries and keys whose weights multiply values"
            )
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def losses(self, x: np.ndarray, y: np.ndarray) -> Losses:
        return OurLosses(self, self._rows(x), y)

    def layers(self) -> list[str]:
        return [path for path, module in self.model.named_modules() if _own(module)]

    def randomised(self, layers: Sequence[str], seed: int) -> Ours:
        model = copy.deepcopy(self.model)
        modules = dict(model.named_modules())
        own = {f"{path}.{n}": p for path in layers for n, p in _own(modules[path]).items()}
        values = redraw({n: p.numpy() for n, p in own.items()}, seed + 1, list(own))
        with no_grad():
            for name, parameter in own.items():
                parameter.assign(asarray(values[name]))
        other = copy.copy(self)
        other.model = model
        return other


class OurLosses(Losses):
    def __init__(self, subject: Ours, x: np.ndarray, y: np.ndarray) -> None:
        self.subject, self.x, self.rows = subject, x, len(x)
        kind = np.int64 if subject.task == "classes" else subject.dtype
        self.y = np.asarray(y).astype(kind)
        self.names = [n for n, p in subject.model.named_parameters() if p.requires_grad]
        parameters = dict(subject.model.named_parameters())
        self.shapes = [parameters[n].shape for n in self.names]
        vectors = [parameters[n].numpy().reshape(-1) for n in self.names]
        if not vectors:
            raise DataError("the network has no weights that are trained")
        self.weights = asarray(np.concatenate(vectors))
        self.size = self.weights.size

    def _parts(self) -> Iterator[slice]:
        step = rows_at_once(self.x)
        for start in range(0, self.rows, step):
            yield slice(start, min(start + step, self.rows))

    def _each(self, rows: slice) -> Callable[[Tensor], Tensor]:
        x, y = asarray(self.x[rows]), asarray(self.y[rows])

        def losses(w: Tensor) -> Tensor:
            parameters, start = {}, 0
            for name, shape in zip(self.names, self.shapes, strict=True):
                end = start + math.prod(shape)
                parameters[name] = reshape(w[start:end], shape)
                start = end
            return _loss(functional_call(self.subject.model, parameters, x), y, self.subject)

        return losses

    def _mean(self, of: Callable[[Callable[[Tensor], Tensor]], Tensor]) -> np.ndarray:
        """The mean over all rows of something of the mean over a part of them."""
        total = np.zeros(self.size)
        with looked_at(self.subject.model):
            for part in self._parts():
                each = self._each(part)
                share = (part.stop - part.start) / self.rows
                total += share * of(_mean(each)).numpy()
        return total

    def gradient(self) -> np.ndarray:
        return self._mean(lambda f: grad(f)(self.weights))

    def product(self, vector: np.ndarray) -> np.ndarray:
        direction = asarray(vector.astype(self.weights.dtype))
        return self._mean(lambda f: hvp(f, (self.weights,), (direction,)))

    def along(self, vector: np.ndarray) -> np.ndarray:
        direction, found = asarray(vector.astype(self.weights.dtype)), []
        with looked_at(self.subject.model):
            for part in self._parts():
                each = self._each(part)
                found.append(jvp(each, (self.weights,), (direction,))[1].numpy())
        return np.concatenate(found).astype(np.float64)


def _mean(each: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda w: mean(each(w))


def _loss(out: Tensor, y: Tensor, subject: Ours) -> Tensor:
    """(n,)."""
    if subject.reading == "values":
        return 0.5 * square(reshape(out, y.shape) - y)
    if subject.reading == "logits":
        return cross_entropy(out, y, reduction="none")
    if subject.reading == "log-odds":
        return binary_cross_entropy_with_logits(
            reshape(out, (-1,)), y.astype(out.dtype), reduction="none"
        )
    if out.ndim == 2 and out.shape[1] > 1:
        return nll_loss(log(out), y, reduction="none")
    yes, given = reshape(out, (-1,)), y.astype(out.dtype)
    return -log(given * yes + (1 - given) * (1 - yes))


@contextmanager
def looked_at(model: Module) -> Iterator[None]:
    """A network in evaluation mode that is left as it was; its products, mostly small, do not wake
    other threads (see `on_one_thread`)."""
    with undisturbed(model), on_one_thread():
        yield


class _LastCall(debug.Observer):
    """What the module of some kinds that was called last took and gave."""

    def __init__(self, kinds: tuple[type, ...]) -> None:
        self.kinds = kinds
        self.taken: Tensor | None = None
        self.result: Tensor | None = None

    def called(self, scope: Any, args: tuple, result: Any) -> None:
        if isinstance(scope.module, self.kinds):
            self.taken, self.result = args[0], result


def _seed(seeds: np.ndarray, out: Tensor) -> Tensor:
    return asarray(np.asarray(seeds).reshape(out.shape).astype(out.dtype), copy=False)


def _no_tensor(out: Any) -> DataError:
    return DataError(
        f"the network gives {type(out).__name__}, and interpret reads one tensor (rows, outputs): "
        "write a module around it that gives that"
    )


def _own(module: Module) -> dict[str, Parameter]:
    """A module's own weights."""
    return {name: p for name, p in vars(module).items() if isinstance(p, Parameter)}
