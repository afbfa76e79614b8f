"""A PyTorch network as the subject of an interpretation."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.errors import DataError, ShapeError
from chainrule.lens.interpret.subjects.subject import (
    Losses,
    Reading,
    Subject,
    no_derivative,
    reading_of,
    rows_at_once,
    two_axes,
)
from chainrule.nn.redraw import redraw


class Torch(Subject):
    framework = "torch"

    def __init__(self, model: Any, x: np.ndarray, reading: Reading | None, y: Any) -> None:
        self.model = model
        self.like = next(model.parameters(), None)
        last = type(list(model.modules())[-1]).__name__
        self.reading = reading or reading_of(self.outputs(x[:8]), last, y)

    def _rows(self, x: np.ndarray) -> Any:
        import torch

        rows = torch.as_tensor(np.array(x))
        if self.like is not None:
            rows = rows.to(self.like.device)
            if rows.is_floating_point():
                rows = rows.to(self.like.dtype)
        return rows

    def _split(self, x: np.ndarray) -> Any:
        rows = self._rows(x)
        return rows.split(rows_at_once(rows))

    def _smooth_parts(self, x: np.ndarray, seeds: np.ndarray) -> Iterator[tuple[Any, Any, Any]]:
        """(rows that want a derivative, their outputs, their seeds), part by part."""
        import torch

        rows = self._rows(x)
        if not rows.is_floating_point():
            raise no_derivative(rows.dtype)
        with evaluating(self.model), torch.enable_grad():
            step = rows_at_once(rows)
            for start in range(0, len(rows), step):
                free = rows[start : start + step].detach().requires_grad_(True)
                out = self._called(free)
                seed = torch.as_tensor(np.asarray(seeds[start : start + step]))
                yield free, out, seed.reshape(out.shape).to(out)

    def _called(self, rows: Any) -> Any:
        import torch

        try:
            out = self.model(rows)
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            raise ShapeError(
                f"the network fails on rows of the shape {tuple(rows.shape)}, {rows.dtype}: {error}"
            ) from error
        if not isinstance(out, torch.Tensor):
            raise DataError(
                f"the network gives {type(out).__name__}, and interpret reads one tensor (rows, "
                "outputs): write a module around it that gives that"
            )
        return out

    def outputs(self, x: np.ndarray) -> np.ndarray:
        import torch

        found = []
        with evaluating(self.model), torch.no_grad():
            for part in self._split(x):
                found.append(two_axes(_array(self._called(part)), len(part)))
        return np.concatenate(found)

    def gradient(self, x: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        import torch

        parts = self._smooth_parts(x, seeds)
        return np.concatenate(
            [_array(torch.autograd.grad(out, free, seed)[0]) for free, out, seed in parts]
        )

    @contextmanager
    def _last_call(self, kinds: tuple[type, ...]) -> Iterator[list[Any]]:
        """[what the module of some kinds took that was called last, what it gave]."""
        seen: list[Any] = []

        def look(module: Any, args: tuple, result: Any) -> None:
            seen[:] = [args[0], result]

        modules: list[Any] = [m for m in self.model.modules() if isinstance(m, kinds)]
        hooks = [m.register_forward_hook(look) for m in modules]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    def features(self, x: np.ndarray) -> np.ndarray:
        import torch

        found = []
        with self._last_call((torch.nn.Linear,)) as seen:
            step = rows_at_once(x)
            for start in range(0, len(x), step):
                rows = x[start : start + step]
                out = self.outputs(rows)
                taken = _array(seen[0]) if seen else out
                # A layer that is not called with a row each says nothing of single rows.
                found.append((taken if len(taken) == len(rows) else out).reshape(len(rows), -1))
        return np.concatenate(found)

    def maps(self, x: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import torch

        maps, slopes = [], []
        kinds = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
        with self._last_call(kinds) as seen:
            for _, out, seed in self._smooth_parts(x, seeds):
                if not seen:
                    raise DataError(
                        f"{type(self.model).__name__} has no convolution whose maps could be shown"
                    )
                maps.append(_array(seen[1]))
                slopes.append(_array(torch.autograd.grad(out, seen[1], seed)[0]))
        return np.concatenate(maps), np.concatenate(slopes)

    def attention(self, x: np.ndarray) -> list[np.ndarray]:
        import torch

        from chainrule.lens.interpret.subjects.torch_attention import Attending

        parts = []
        with evaluating(self.model), torch.no_grad():
            for part in self._split(x):
                with Attending() as seen:
                    self._called(part)
                parts.append([_array(weights) for weights in seen.weights])
        if not parts[0]:
            raise DataError(
                f"no attention ran in {type(self.model).__name__} through nn.MultiheadAttention or "
                "F.scaled_dot_product_attention; written by hand it is not seen"
            )
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def losses(self, x: np.ndarray, y: np.ndarray) -> Losses:
        return TorchLosses(self, self._rows(x), y)

    def layers(self) -> list[str]:
        return [path for path, m in self.model.named_modules() if list(m.parameters(recurse=False))]

    def randomised(self, layers: Sequence[str], seed: int) -> Torch:
        import torch

        model = copy.deepcopy(self.model)
        modules = dict(model.named_modules())
        own = {
            f"{path}.{name}": parameter
            for path in layers
            for name, parameter in modules[path].named_parameters(recurse=False)
        }
        values = redraw({n: _array(p) for n, p in own.items()}, seed + 1, list(own))
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(torch.as_tensor(values[name]))
        other = copy.copy(self)
        other.model = model
        return other


class TorchLosses(Losses):
    def __init__(self, subject: Torch, x: Any, y: np.ndarray) -> None:
        import torch

        self.subject, self.x, self.rows = subject, x, len(x)
        kind = torch.int64 if subject.task == "classes" else getattr(subject.like, "dtype", None)
        self.y = torch.as_tensor(np.asarray(y), device=x.device).to(kind)
        trained = {n: p for n, p in subject.model.named_parameters() if p.requires_grad}
        if not trained:
            raise DataError("the network has no weights that are trained")
        self.shapes = {n: p.shape for n, p in trained.items()}
        self.weights = torch.cat([p.detach().reshape(-1) for p in trained.values()])
        self.size = len(self.weights)

    def _each(self, part: slice) -> Callable[[Any], Any]:
        import torch

        def losses(w: Any) -> Any:
            parameters, start = {}, 0
            for name, shape in self.shapes.items():
                end = start + math.prod(shape)
                parameters[name] = w[start:end].reshape(shape)
                start = end
            out = torch.func.functional_call(self.subject.model, parameters, (self.x[part],))
            return _loss(out, self.y[part], self.subject)

        return losses

    def _parts(self) -> Iterator[tuple[Callable[[Any], Any], float]]:
        """(the losses of a part of the rows, its share of the rows), part by part."""
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        # The other kernels of attention have no second derivative.
        with evaluating(self.subject.model), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            step = rows_at_once(self.x)
            for start in range(0, self.rows, step):
                part = slice(start, min(start + step, self.rows))
                yield self._each(part), (part.stop - part.start) / self.rows

    def gradient(self) -> np.ndarray:
        import torch

        total = np.zeros(self.size)
        for each, share in self._parts():
            w = self.weights.requires_grad_(True)
            total += share * _array(torch.autograd.grad(each(w).mean(), w)[0])
        return total

    def product(self, vector: np.ndarray) -> np.ndarray:
        import torch

        total, direction = np.zeros(self.size), torch.as_tensor(vector).to(self.weights)
        for each, share in self._parts():
            w = self.weights.requires_grad_(True)
            (slope,) = torch.autograd.grad(each(w).mean(), w, create_graph=True)
            # Of a loss that is linear in the weights the slope does not depend on them.
            if slope.requires_grad:
                total += share * _array(torch.autograd.grad(slope @ direction, w)[0])
        return total

    def along(self, vector: np.ndarray) -> np.ndarray:
        import torch

        direction, found = torch.as_tensor(vector).to(self.weights), []
        for each, _ in self._parts():
            # J v is the derivative of uᵀ J v in u: two passes back, and none forward.
            w = self.weights.requires_grad_(True)
            loss = each(w)
            u = torch.zeros_like(loss, requires_grad=True)
            (pulled,) = torch.autograd.grad(loss, w, u, create_graph=True)
            found.append(_array(torch.autograd.grad(pulled @ direction, u)[0]))
        return np.concatenate(found)


def _loss(out: Any, y: Any, subject: Torch) -> Any:
    """(n,)."""
    import torch
    from torch.nn import functional

    if subject.reading == "values":
        return 0.5 * (out.reshape(y.shape) - y) ** 2
    if subject.reading == "logits":
        return functional.cross_entropy(out, y, reduction="none")
    if subject.reading == "log-odds":
        return functional.binary_cross_entropy_with_logits(
            out.reshape(-1), y.to(out), reduction="none"
        )
    if out.ndim == 2 and out.shape[1] > 1:
        return functional.nll_loss(torch.log(out), y, reduction="none")
    yes, given = out.reshape(-1), y.to(out)
    return -torch.log(given * yes + (1 - given) * (1 - yes))


def _array(tensor: Any) -> np.ndarray:
    found: np.ndarray = tensor.detach().double().cpu().numpy()
    return found


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """A module in evaluation mode; modes, buffers and the random state are afterwards as they
    were."""
    import torch

    modes = [(m, m.training) for m in model.modules()]
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    random = torch.get_rng_state()
    model.eval()
    try:
        yield
    finally:
        torch.set_rng_state(random)
        for module, mode in modes:
            module.training = mode
        for buffer, value in buffers:
            if not torch.equal(buffer, value):
                with torch.no_grad():
                    buffer.copy_(value)
