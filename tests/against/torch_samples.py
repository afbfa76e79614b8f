"""PyTorch's own sample inputs, run on this library's operation of the same meaning.

`torch.testing` has a generator of sample inputs for each of its operations (`op_db`). For each name
in `NAMES` every float sample is run on both sides: all outputs are compared, and for random
cotangents the gradients of all inputs.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import chainrule as cr
from chainrule.tensor.tensor import Tensor
from tests.against.torch_arithmetic import ARITHMETIC
from tests.against.torch_conventions import (
    FORWARD,
    PREPARED,
    REAL_ONLY,
    RESULTS,
    ROUGH,
    TRUTH,
    undefined,
)
from tests.against.torch_creation import CREATED, RANDOM
from tests.against.torch_masked import MASKED
from tests.against.torch_matrices import MATRICES
from tests.against.torch_names import ONE, Lacks
from tests.against.torch_networks import NETWORKS
from tests.against.torch_reductions import REDUCTIONS
from tests.against.torch_shapes import SHAPES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db


def full_name(op: Any) -> str:
    return op.name + (f".{op.variant_test_name}" if op.variant_test_name else "")


OPS = {full_name(op): op for op in op_db}
COMPOSED = ARITHMETIC | SHAPES | REDUCTIONS | MATRICES | NETWORKS | MASKED | CREATED
NAMES = ONE | COMPOSED | RANDOM


def dtypes(name: str) -> list[torch.dtype]:
    """What a name is compared in: float64, float32 and complex128; int64 where it has none."""
    has = set(OPS[name].dtypes)
    has -= {torch.complex128} if name in REAL_ONLY else set()
    has -= {torch.float32} if name in ROUGH else set()
    return [d for d in (torch.float64, torch.float32, torch.complex128) if d in has] or [
        torch.int64
    ]


@dataclass
class Outcome:
    """What became of the samples of one name."""

    agreed: int = 0
    gradients: int = 0  # of those, how many had a gradient to compare
    left_out: dict[str, int] = field(default_factory=dict)  # reason -> how many samples


def samples(op: Any, dtype: torch.dtype) -> Iterator[Any]:
    # Generators draw from PyTorch's global generator.
    torch.manual_seed(0)
    smooth = op.supports_autograd and dtype in op.supported_backward_dtypes("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from op.sample_inputs("cpu", dtype, requires_grad=smooth)


def check(name: str, dtype: torch.dtype = torch.float64) -> Outcome:
    """Run every sample of a name; AssertionError where the two differ."""
    op, ours = OPS[name], NAMES[name]
    outcome = Outcome()
    for number, sample in enumerate(samples(op, dtype)):
        try:
            outcome.gradients += _compare(name, ours, sample, dtype)
            outcome.agreed += 1
        except Lacks as reason:
            outcome.left_out[str(reason)] = outcome.left_out.get(str(reason), 0) + 1
        except Exception as error:
            raise AssertionError(
                f"{name}, sample {number}: {sample.summary()}\n{type(error).__name__}: {error}"
            ) from error
    return outcome


def counted(name: str, dtype: torch.dtype) -> Counter[str]:
    outcome, word = check(name, dtype), str(dtype).removeprefix("torch.")
    counts = Counter({f"left out: {reason}": n for reason, n in outcome.left_out.items()})
    counts[f"{word} names"] = int(outcome.agreed > 0)
    counts[f"{word} agreed"] = outcome.agreed
    counts[f"{word} gradients"] = outcome.gradients
    return counts


def _compare(name: str, ours: Callable[..., Any], sample: Any, dtype: torch.dtype) -> bool:
    op = OPS[name]
    prepare = PREPARED.get(name, lambda lib, *args, **kwargs: (args, kwargs))
    settle = RESULTS.get(name, undefined if name in RANDOM else lambda lib, result: result)
    args, kwargs = (sample.input, *sample.args), dict(sample.kwargs)
    leaves: list[torch.Tensor] = []  # that derivatives are taken by
    _visit((args, kwargs), leaves)
    made: dict[int, Tensor] = {}

    def run(*values: Tensor) -> list[Tensor]:
        for leaf, value in zip(leaves, values, strict=True):
            made[id(leaf)] = value
        given_args, given_kwargs = _converted((args, kwargs), made)
        given_args, given_kwargs = prepare(cr, *given_args, **given_kwargs)
        parts = _flat(settle(cr, ours(*given_args, **given_kwargs)))
        return [p if isinstance(p, Tensor) else cr.asarray(np.asarray(p)) for p in parts]

    starts = [cr.asarray(_array(leaf)) for leaf in leaves]
    found, pull = (
        cr.vjp(run, *starts) if leaves else (run(), None)
    )  # before: they may be written to
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Operations that write to their input want one that is no leaf.
        aside, known = prepare(torch, _aside(sample.input), *sample.args, **sample.kwargs)
        theirs = _flat(settle(torch, op(*aside, **known)))
    assert len(found) == len(theirs), f"{len(found)} results, and PyTorch gives {len(theirs)}"
    for mine, other in zip(found, theirs, strict=True):
        if name in TRUTH:
            _close(mine, TRUTH[name](sample.input.numpy()), dtype)
            np.testing.assert_allclose(np.asarray(mine), other.numpy(), rtol=1e-4, atol=1e-6)
        else:
            _close(mine, other, dtype)
    smooth = [i for i, t in enumerate(theirs) if isinstance(t, torch.Tensor) and t.requires_grad]
    if not leaves or not smooth or name in FORWARD:
        return False
    rng = np.random.default_rng(0)
    cotangents = [_random(rng, theirs[i]) for i in smooth]
    wanted = torch.autograd.grad(
        [theirs[i] for i in smooth],
        leaves,
        [torch.tensor(c) for c in cotangents],
        allow_unused=True,
    )
    zero = [cr.zeros(o.shape, dtype=o.dtype) for o in found]
    for i, c in zip(smooth, cotangents, strict=True):
        zero[i] = cr.asarray(c)
    assert pull is not None
    for gradient, other, leaf in zip(pull(zero), wanted, leaves, strict=True):
        _close(gradient, torch.zeros_like(leaf) if other is None else other, dtype, "gradient")
    return True


def _aside(tree: Any) -> Any:
    if isinstance(tree, torch.Tensor):
        return tree.clone() if tree.requires_grad else tree
    if isinstance(tree, (list, tuple)):
        return type(tree)(map(_aside, tree))
    return tree


def _visit(tree: Any, leaves: list[torch.Tensor]) -> None:
    if isinstance(tree, torch.Tensor):
        if tree.requires_grad and not any(tree is leaf for leaf in leaves):
            leaves.append(tree)
    elif isinstance(tree, dict):
        for value in tree.values():
            _visit(value, leaves)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            _visit(value, leaves)


def _converted(tree: Any, made: dict[int, Tensor]) -> Any:
    """PyTorch's arguments as ours."""
    if isinstance(tree, torch.Tensor):
        return made[id(tree)] if id(tree) in made else cr.asarray(_array(tree))
    if isinstance(tree, dict):
        return {key: _converted(value, made) for key, value in tree.items()}
    if isinstance(tree, torch.Size):
        return tuple(tree)
    if isinstance(tree, (list, tuple)) and not hasattr(tree, "_fields"):
        return type(tree)(_converted(value, made) for value in tree)
    if isinstance(tree, torch.dtype):
        return np.dtype(str(tree).removeprefix("torch."))
    return tree


def _array(x: torch.Tensor) -> np.ndarray:
    return x.detach().numpy(force=True)


def _flat(result: Any) -> list[Any]:
    if isinstance(result, (list, tuple)):
        return [leaf for part in result for leaf in _flat(part)]
    return [result]


def _random(rng: np.random.Generator, like: torch.Tensor) -> np.ndarray:
    shape = tuple(like.shape)
    value = rng.normal(size=shape)
    if like.is_complex():
        value = value + 1j * rng.normal(size=shape)
    return np.asarray(value).astype(str(like.dtype).removeprefix("torch."))


def _close(mine: Any, other: Any, dtype: torch.dtype, what: str = "value") -> None:
    a = np.asarray(mine)
    b = _array(other) if isinstance(other, torch.Tensor) else np.asarray(other)
    assert a.shape == b.shape, f"the {what} has the shape {a.shape}, and PyTorch's {b.shape}"
    kinds = a.dtype.kind, b.dtype.kind
    assert a.dtype == b.dtype or not set("fc") & set(kinds), f"{what}: {a.dtype} and {b.dtype}"
    tight = dtype in (torch.float64, torch.complex128)
    np.testing.assert_allclose(
        a, b, rtol=1e-7 if tight else 2e-4, atol=1e-8 if tight else 2e-4, err_msg=what
    )
