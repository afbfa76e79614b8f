"""Losses. Each is the negative log-likelihood of a distribution, which its text names: to minimise
the loss is to maximise the likelihood of the targets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.activation import softplus
from chainrule.ops.arithmetic import abs, maximum, sqrt, square
from chainrule.ops.choosing import where
from chainrule.ops.exponential import exp, log
from chainrule.ops.indexing import take
from chainrule.ops.losses import bernoulli_nll, check_labels, softmax_cross_entropy
from chainrule.ops.reduction import mean, sum
from chainrule.ops.softmax import log_softmax
from chainrule.ops.structure import moveaxis
from chainrule.probability.assumed import assumes, by_name
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import state
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return mean(losses)
    if reduction == "sum":
        return sum(losses)
    if reduction == "none":
        return losses
    raise DTypeError(f'reduction is "mean", "sum" or "none", not {reduction!r}')


def floating(input: Any) -> Tensor:
    """Predictions as a tensor of floating-point numbers."""
    input = as_operand(input)
    if not dtypes.is_float(input.dtype):
        raise DTypeError(f"predictions are floating-point numbers, and these are {input.dtype}")
    return input


def _pair(input: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Predictions and targets of one shape; anything else is nearly always a mistake."""
    input, target = as_operand(input), as_operand(target)
    if input.shape != target.shape:
        hint = ""
        if input.size == target.size:
            hint = (
                f" They would broadcast to every pair of the {input.size} predictions and targets. "
                f"Write target.reshape{input.shape} or input.squeeze(-1)."
            )
        raise ShapeError(
            f"the prediction has the shape {input.shape} and the target {target.shape}; they must "
            f"be equal.{hint}"
        )
    input = floating(input)
    return input, target if target.dtype == input.dtype else target.astype(input.dtype)


def _classes_last(input: Tensor) -> Tensor:
    return moveaxis(input, 1, -1) if input.ndim > 2 else input


def _class_weight(weight: Any, logits: Tensor) -> Tensor:
    """A weight for each class, for logits with the classes last."""
    weight = as_operand(weight).astype(logits.dtype)
    if weight.shape != logits.shape[-1:]:
        raise ShapeError(
            f"weight has one number for each of {logits.shape[-1]} classes, not {weight.shape}"
        )
    return weight


@located
@assumes(lambda input, **_: by_name("Categorical")(logits=_classes_last(as_operand(input))))
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The categorical distribution: −log p(class), with p = softmax(input).

    Args:
        input: logits, (C,), (N, C) or (N, C, d₁, …): not probabilities.
        target: whole numbers 0 … C − 1 in the shape of the input without its class axis; or a
            probability for each class, in the input's shape.
        weight: (C,), a weight for each class; a mean is then divided by the weights' sum.
        ignore_index: a label that counts for nothing.
        reduction: "mean", "sum" or "none".
        label_smoothing: ε in [0, 1]; the target becomes (1 − ε) target + ε/C (Szegedy et al. 2016).

    Raises:
        BoundsError: a label is no class; it names the row.
        ShapeError, DTypeError: the target fits neither form.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.cross_entropy(cr.asarray([[0.0, 0.0]]), cr.asarray([1])).item()  # log 2
    0.6931471824645996
    """
    input, target = as_operand(input), as_operand(target)
    if not dtypes.is_float(input.dtype):
        raise DTypeError(f"logits are floating-point numbers, and these are {input.dtype}")
    if input.ndim == 0:
        raise ShapeError("logits have a class axis: (C,), (N, C) or (N, C, d1, …)")
    if not isinstance(label_smoothing, (int, float)) or not 0 <= label_smoothing <= 1:
        raise DTypeError(f"label_smoothing lies in [0, 1], and {label_smoothing!r} does not")
    logits = _classes_last(input)
    if weight is not None:
        weight = _class_weight(weight, logits)
    soft = target.shape == input.shape and dtypes.is_float(target.dtype)
    if soft:
        return _soft(logits, _classes_last(target), weight, reduction, label_smoothing)
    if dtypes.is_float(target.dtype):
        raise DTypeError(
            f"targets of {target.dtype} are probabilities, in the shape of the logits "
            f"{input.shape}; these have the shape {target.shape}. For classes write "
            "target.astype(cr.int64)."
        )
    return _hard(logits, target, weight, ignore_index, reduction, label_smoothing)


def _soft(logits: Tensor, target: Tensor, weight: Any, reduction: str, smoothing: float) -> Tensor:
    if smoothing:
        target = target * (1 - smoothing) + smoothing / logits.shape[-1]
    terms = log_softmax(logits) * target.astype(logits.dtype)
    losses = -sum(terms if weight is None else terms * weight, -1)
    return _reduced(losses, reduction)


def _hard(
    logits: Tensor, target: Tensor, weight: Any, ignore: int, reduction: str, smoothing: float
) -> Tensor:
    values = target._value if state.tracer is None else None  # then they may be others later
    kept = None
    if values is None or (values == ignore).any():
        kept = target != ignore
        target = where(kept, target, 0)
    losses = softmax_cross_entropy(logits, target)
    each = None if weight is None else take(weight, target, axis=0)
    if each is not None:
        losses = losses * each
    if smoothing:
        spread = log_softmax(logits) if weight is None else log_softmax(logits) * weight
        losses = losses * (1 - smoothing) - sum(spread, -1) * (smoothing / logits.shape[-1])
    if kept is not None:
        losses = where(kept, losses, 0.0)
    if reduction != "mean" or (kept is None and each is None):
        return _reduced(losses, reduction)
    counted = each if each is not None else Tensor(np.ones((), losses.dtype))
    if kept is not None:
        counted = where(kept, counted, 0.0)
    return sum(losses) / sum(counted.broadcast_to(losses.shape))


@located
@assumes(lambda input, **_: by_name("Categorical")(logits=_classes_last(as_operand(input))))
def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """The categorical distribution: −input[class], with log-probabilities as the input.

    Arguments as in `cross_entropy`.
    """
    input, target = as_operand(input), as_operand(target)
    logits = _classes_last(input)
    from chainrule.ops.indexing import take_along_axis
    from chainrule.ops.structure import expand_dims, squeeze

    kept = target != ignore_index
    safe = where(kept, target, 0)
    check_labels(logits, safe)
    losses = -squeeze(take_along_axis(logits, expand_dims(safe, -1), axis=-1), -1)
    each = where(kept, 1.0, 0.0).astype(logits.dtype)
    if weight is not None:
        each = each * take(_class_weight(weight, logits), safe, axis=0)
    losses = where(kept, losses, 0.0) * each
    return sum(losses) / sum(each) if reduction == "mean" else _reduced(losses, reduction)


@located
@assumes(lambda input, **_: by_name("Bernoulli")(logits=input))
def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """The Bernoulli distribution: −y log σ(x) − (1 − y) log(1 − σ(x)), x the logit.

    Computed as (1 − y) softplus(x) + w y softplus(−x): no logit makes it overflow, and as nothing
    is subtracted, the small loss of a sure and right logit keeps its digits.

    Args:
        input: logits: not probabilities.
        target: 0 to 1, in the input's shape.
        weight: a factor for each element, broadcast.
        pos_weight: w, how much a positive counts.
    """
    input, target = _pair(input, target)
    positive = target * softplus(-input)
    if pos_weight is not None:
        positive = positive * as_operand(pos_weight).astype(input.dtype)
    losses = (1 - target) * softplus(input) + positive
    if weight is not None:
        losses = losses * as_operand(weight).astype(input.dtype)
    if losses.shape != input.shape:
        raise ShapeError(
            f"weight and pos_weight are broadcast to the input's shape {input.shape}; they would "
            f"make it {losses.shape}"
        )
    return _reduced(losses, reduction)


@located
@assumes(lambda input, **_: by_name("Bernoulli")(probs=input))
def binary_cross_entropy(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean"
) -> Tensor:
    """The Bernoulli distribution: −y log p − (1 − y) log(1 − p), p the probability.

    Logarithms are kept above −100, and the derivative's divisor p (1 − p) above 1e-12, as in
    PyTorch. `binary_cross_entropy_with_logits` takes logits, and needs neither.

    Args:
        input: probabilities, 0 to 1.
        target: 0 to 1, in the input's shape.
        weight: a factor for each element, broadcast.

    Raises:
        DTypeError: an input is no probability; it is named.

    >>> import chainrule as cr
    >>> round(binary_cross_entropy(cr.asarray([0.5]), cr.asarray([1.0])).item(), 4)  # log 2
    0.6931
    """
    input, target = _pair(input, target)
    values = input._value
    if values is not None and ((values < 0) | (values > 1)).any():
        wrong = values[(values < 0) | (values > 1)].reshape(-1)[0]
        raise DTypeError(
            f"probabilities lie between 0 and 1, and one is {wrong}. Put a sigmoid behind the "
            "layer, or give its logits to binary_cross_entropy_with_logits."
        )
    return _reduced(_weighted(bernoulli_nll(input, target), weight), reduction)


def _weighted(losses: Tensor, weight: Any) -> Tensor:
    """Losses times a factor for each, which must not make them more."""
    if weight is None:
        return losses
    weighted = losses * as_operand(weight).astype(losses.dtype)
    if weighted.shape != losses.shape:
        raise ShapeError(
            f"the weight is broadcast to the input's shape {losses.shape}; it would make it "
            f"{weighted.shape}"
        )
    return weighted


@located
def kl_div(input: Any, target: Any, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """y (log y − input), the terms of the Kullback–Leibler divergence of q from y, input = log q.

    Summed over a distribution it is Σ y log(y/q), at least 0: the categorical likelihood but for
    the entropy of y. `reduction="batchmean"`, the sum divided by the size of the first axis, is the
    divergence; "mean" divides by all elements, as in PyTorch.

    Args:
        input: logarithms of probabilities.
        target: probabilities, in the input's shape; or their logarithms with `log_target`.

    >>> import chainrule as cr
    >>> q, y = cr.asarray([[0.5, 0.5]]), cr.asarray([[1.0, 0.0]])
    >>> round(kl_div(cr.log(q), y, reduction="batchmean").item(), 4)  # log 2
    0.6931
    """
    input, target = _pair(input, target)
    if log_target:
        losses = exp(target) * (target - input)
    else:
        # 0 log 0 is 0; the logarithm sees no 0, so that its derivative is finite there.
        losses = target * log(where(target > 0, target, 1.0)) - target * input
    if reduction == "batchmean":
        if input.ndim == 0:
            raise ShapeError('reduction="batchmean" divides by the first axis, and there is none')
        return sum(losses) / input.shape[0]
    if reduction not in ("mean", "sum", "none"):
        raise DTypeError(f'reduction is "mean", "batchmean", "sum" or "none", not {reduction!r}')
    return _reduced(losses, reduction)


@located
@assumes(lambda input, **_: by_name("Normal")(input, 1.0), scale=2.0, constant="log(2 · π) / 2")
def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """The normal distribution with a fixed variance: (x − y)².

    With σ² = ½ this is −log N(y; x, σ²) but for the constant ½ log π.
    """
    input, target = _pair(input, target)
    return _reduced(square(input - target), reduction)


@located
@assumes(lambda input, **_: by_name("Laplace")(input, 1.0), constant="log(2)")
def l1_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """The Laplace distribution with scale 1: |x − y|, which is −log p but for log 2."""
    input, target = _pair(input, target)
    return _reduced(abs(input - target), reduction)


@located
def huber_loss(input: Any, target: Any, *, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Normal in the middle, Laplace in the tails: ½ d² where |d| ≤ δ, else δ(|d| − ½ δ).

    Huber 1964, Robust estimation of a location parameter.
    """
    input, target = _pair(input, target)
    if not 0 < delta < math.inf:
        raise DTypeError(f"delta is positive and finite, not {delta}")
    d = abs(input - target)
    return _reduced(where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta)), reduction)


@located
def smooth_l1_loss(
    input: Any, target: Any, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """`huber_loss` divided by β: ½ d²/β where |d| < β, else |d| − ½ β."""
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    if not beta > 0:
        raise DTypeError(f"beta is not negative, and {beta} is")
    return huber_loss(input, target, reduction=reduction, delta=beta) / beta


def _variance(input: Tensor, var: Any) -> Tensor:
    """A variance for each prediction, or one for all of a row."""
    var = as_operand(var).astype(input.dtype)
    if var.shape not in (input.shape, (*input.shape[:-1], 1), input.shape[:-1]):
        raise ShapeError(f"var has the shape of the input {input.shape}, not {var.shape}")
    return var.reshape(*var.shape, 1) if var.ndim < input.ndim else var


@located
@assumes(
    lambda input, var, eps, **_: by_name("Normal")(
        input, sqrt(maximum(_variance(input, var), eps))
    ),
    constant=lambda full, **_: "0" if full else "log(2 · π) / 2",
)
def gaussian_nll_loss(
    input: Any,
    target: Any,
    var: Any,
    *,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """The normal distribution with a predicted variance: ½ (log v + (x − y)²/v), v = max(var, eps).

    Nix, Weigend 1994. The clamp takes no part in the derivative, as in PyTorch.

    Args:
        full: add the constant ½ log 2π.
    """
    input, target = _pair(input, target)
    var = _variance(input, var)
    if var._value is not None and (var._value < 0).any():
        raise DTypeError("a variance is not negative; put softplus or exp behind the layer")
    from chainrule.ops.structure import stop_gradient

    var = var + stop_gradient(maximum(var, eps) - var)
    losses = 0.5 * (log(var) + square(input - target) / var)
    return _reduced(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


@located
@assumes(
    lambda input, log_input, **_: by_name("Poisson")(exp(input) if log_input else input),
    constant="logΓ(x + 1)",
)
def poisson_nll_loss(
    input: Any,
    target: Any,
    *,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """The Poisson distribution: exp(x) − y x with x the log-rate, but for log y!.

    Args:
        log_input: whether the input is the logarithm of the rate; otherwise it is the rate itself.
        full: add Stirling's approximation of log y! for y > 1.
    """
    input, target = _pair(input, target)
    losses = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        safe = where(target > 1, target, 1.0)
        stirling = safe * log(safe) - safe + 0.5 * log(2 * math.pi * safe)
        losses = losses + where(target > 1, stirling, 0.0)
    return _reduced(losses, reduction)
