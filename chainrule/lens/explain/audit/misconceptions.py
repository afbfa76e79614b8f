"""The common misconceptions of backpropagation, each compared in numbers with the right rule.

A small network of one batch: n = 32 rows x of 4 features, a hidden layer of 4 units, 3 classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chainrule.calculus import grad
from chainrule.calculus.mismatch import likeness
from chainrule.lens.explain.derivation import Check, Derivation, Section, Step, describe
from chainrule.lens.explain.statement import Recomputed, stated
from chainrule.tensor.creation import asarray
from chainrule.tensor.dtypes import float64
from chainrule.tensor.tensor import Tensor

N = 32


@dataclass(frozen=True)
class Batch:
    """What the examples below share, drawn once.

    Attributes:
        x: (32, 4) rows. w: (4, 4) square, so that its transpose fits, too. v: (3, 4), the output
        weights. t: (32,) real targets. labels: (32,) classes.
    """

    x: np.ndarray
    w: np.ndarray
    v: np.ndarray
    u: np.ndarray
    t: np.ndarray
    labels: np.ndarray

    @property
    def onehot(self) -> np.ndarray:
        return np.eye(3)[self.labels]


def batch() -> Batch:
    """The batch, always the same."""
    rng = np.random.default_rng(0)
    return Batch(
        rng.normal(size=(N, 4)),
        rng.normal(size=(4, 4)),
        rng.normal(size=(3, 4)),
        rng.normal(size=4),
        rng.normal(size=N),
        rng.integers(0, 3, N),
    )


def misconceptions() -> Derivation:
    """Ten mistakes that are made again and again, each beside the right rule, in numbers.

    >>> derivation = misconceptions()
    >>> derivation.verified
    True
    >>> derivation["forgotten 1/n: ratio"].value.round(9).tolist()
    [32.0, 32.0, 32.0, 32.0]
    """
    given = batch()
    makers: tuple[Callable[[Batch], Section], ...] = (
        forgotten_mean,
        bias_not_summed,
        transposed_weight,
        outer_product_turned,
        softmax_twice,
        log_of_softmax,
        stale_gradients,
        missing_two,
        broadcast_accident,
        diagonal_jacobian,
    )
    return Derivation(
        "What is often got wrong, in numbers",
        tuple(make(given) for make in makers),
        {name: value for name, value in vars(given).items()},
        (f"{len(makers)} mistakes, each beside the right rule.",),
    )


@dataclass(frozen=True, eq=False)
class Slope:
    """That a step's value is the gradient of a function, by automatic differentiation and by
    central differences with a step of 1e-5 in float64, whose error is of the order of its square.
    """

    f: Callable[[Tensor], Tensor]
    at: np.ndarray

    def check(self, step: Step) -> Check:
        assert step.value is not None
        point = asarray(self.at, dtype=float64)
        exact = grad(self.f)(point).numpy()
        h = 1e-5
        worst = float(np.abs(step.value - exact).max())
        for i in np.ndindex(self.at.shape):
            sides = []
            for sign in (1, -1):
                moved = self.at.astype(np.float64)
                moved[i] += sign * h
                sides.append(self.f(asarray(moved)).item())
            worst = max(worst, abs((sides[0] - sides[1]) / (2 * h) - step.value[i]))
        scale = float(np.abs(exact).max())
        return Check("central differences and backward()", worst, 1e-7 * max(scale, 1.0))


def _compared(title: str, right: Step, wrong: Step, why: str, *, sizes: tuple[int, ...]) -> Section:
    """A right and a wrong rule, and what their numbers look like beside one another."""
    assert right.value is not None
    assert wrong.value is not None
    said = likeness(wrong.value, right.value, sizes, (0.0, 0.0))
    told = () if said.startswith("no simple pattern") else (said,)
    both = [right, wrong]
    ratios = wrong.value / right.value if wrong.value.shape == right.value.shape else None
    if ratios is not None and np.ptp(ratios) < 1e-9 * np.abs(ratios).max():
        both.append(
            stated(
                f"{title}: ratio",
                f"The wrong one is {np.median(ratios):.6g} times the right one, in every element",
                "r[…] = a[…] / b[…]",
                {"a": wrong.value, "b": right.value},
                right.value.shape,
                names={"a": wrong.name, "b": right.name},
                rule="comparison",
                notes=told,
            )
        )
    else:
        both.append(
            stated(
                f"{title}: difference",
                "By how much the wrong one is off, element by element",
                "d[…] = a[…] − b[…]",
                {"a": wrong.value, "b": right.value},
                right.value.shape,
                names={"a": wrong.name, "b": right.name},
                rule="comparison",
                notes=told,
            )
        )
    return Section(title, tuple(both), summary=why)


def forgotten_mean(b: Batch) -> Section:
    """The loss is a mean, and the gradient a sum."""
    operands = {"x": b.x, "u": b.u, "t": b.t}
    residual = "(Σ_k x[n, k] · u[k] − t[n])"

    def loss(u: Tensor) -> Tensor:
        return ((asarray(b.x) @ u - asarray(b.t)) ** 2).mean() / 2

    right = stated(
        "∂L/∂u", "The gradient of a mean over 32 rows",
        f"g[j] = (Σ_n {residual} · x[n, j]) / |n|", operands, (4,),
        rule="the derivative of a mean", claims=(Slope(loss, b.u),),
    )  # fmt: skip
    wrong = stated(
        "∂L/∂u without 1/n", "The same with 1/n forgotten",
        f"g[j] = Σ_n {residual} · x[n, j]", operands, (4,), rule="a factor left out",
    )  # fmt: skip
    return _compared(
        "forgotten 1/n", right, wrong,
        "off by exactly 32, the batch size: the rate is 32 times what was meant", sizes=(N,),
    )  # fmt: skip


def _delta(b: Batch) -> np.ndarray:
    """δ = (p − y)/n of a softmax with cross-entropy on z = x wᵀ vᵀ."""
    z = b.x @ b.w.T @ b.v.T
    p = np.exp(z - z.max(1, keepdims=True))
    return (p / p.sum(1, keepdims=True) - b.onehot) / N


def _cross_entropy(b: Batch, z: Tensor) -> Tensor:
    from chainrule.probability.losses import cross_entropy

    return cross_entropy(z, asarray(b.labels))


def bias_not_summed(b: Batch) -> Section:
    """A bias is added to every row, so that its gradient is the sum over them."""
    d = _delta(b)
    z = asarray(b.x @ b.w.T @ b.v.T)
    right = stated(
        "∂L/∂b", "The gradient of the bias: the sum over the rows that it was added to",
        "g[i] = Σ_n δ[n, i]", {"δ": d}, (3,), rule="a broadcast is summed",
        claims=(Slope(lambda bias: _cross_entropy(b, z + bias), np.zeros(3)),),
    )  # fmt: skip
    wrong = stated(
        "∂L/∂b averaged", "The mean over the rows instead, though δ has its 1/n already",
        "g[i] = (Σ_n δ[n, i]) / |n|", {"δ": d}, (3,), rule="a mean where a sum belongs",
    )  # fmt: skip
    return _compared(
        "a bias gradient not summed", right, wrong,
        "a broadcast forward is a sum backward; left as (32, 3) it does not fit b at all",
        sizes=(N,),
    )  # fmt: skip


def transposed_weight(b: Batch) -> Section:
    """Back through z = W h goes δ W, with the same W; its transpose fits where W is square."""
    rng = np.random.default_rng(1)
    d, h = rng.normal(size=(N, 4)), rng.normal(size=(N, 4))

    def carried(hidden: Tensor) -> Tensor:
        return (hidden @ asarray(b.w).mT * asarray(d)).sum()

    right = stated(
        "δh", "Back through z[n, k] = Σ_j W[k, j] h[n, j]", "g[n, j] = Σ_k δ[n, k] · W[k, j]",
        {"δ": d, "W": b.w}, (N, 4), rule="transpose of a matrix product",
        claims=(Slope(carried, h),),
    )  # fmt: skip
    wrong = stated(
        "δh by Wᵀ", "The same with W transposed", "g[n, j] = Σ_k δ[n, k] · W[j, k]",
        {"δ": d, "W": b.w}, (N, 4), rule="a transpose too many",
    )  # fmt: skip
    return _compared(
        "a transposed weight", right, wrong,
        "where W is square nothing fails, and every number is wrong: the indices decide", sizes=(),
    )  # fmt: skip


def outer_product_turned(b: Batch) -> Section:
    """∂L/∂W = δᵀ h has W's shape; hᵀ δ is its transpose."""
    rng = np.random.default_rng(1)
    d, h = rng.normal(size=(N, 4)), rng.normal(size=(N, 4))
    right = stated(
        "∂L/∂W", "Index form first: W[i, j] joins h[n, j] to z[n, i]; hence δᵀ h",
        "g[i, j] = Σ_n δ[n, i] · h[n, j]", {"δ": d, "h": h}, (4, 4), rule="sum over the batch",
        claims=(Slope(lambda w: (asarray(h) @ w.mT * asarray(d)).sum(), b.w),),
    )  # fmt: skip
    wrong = stated(
        "∂L/∂W turned", "hᵀ δ", "g[i, j] = Σ_n h[n, i] · δ[n, j]", {"δ": d, "h": h}, (4, 4),
        rule="a transpose too many",
    )  # fmt: skip
    return _compared(
        "hᵀδ or δᵀh", right, wrong, "the weight is stored (out, in), and so is its gradient",
        sizes=(),
    )  # fmt: skip


def softmax_twice(b: Batch) -> Section:
    """Cross-entropy takes logits; probabilities handed to it are squashed once more."""
    z = 10.0 * b.onehot
    once = "p[n, j] = exp(z[n, j]) / Σ_k exp(z[n, k]); "
    from chainrule.ops.softmax import softmax

    def twice(logits: Tensor) -> Tensor:
        return _cross_entropy(b, softmax(logits, axis=-1))

    right = stated(
        "L", "Cross-entropy on logits that are right by 10",
        once + "L = (Σ_n −log(p[n, c[n]])) / |n|", {"z": z, "c": b.labels}, rule="definition",
        claims=(Recomputed("cross_entropy", _cross_entropy(b, asarray(z)).numpy(), 1e-12),),
    )  # fmt: skip
    wrong = stated(
        "L of a softmax of a softmax", "The same where the network ends in a softmax of its own",
        once + "q[n, j] = exp(p[n, j]) / Σ_k exp(p[n, k]); L = (Σ_n −log(q[n, c[n]])) / |n|",
        {"z": z, "c": b.labels}, rule="softmax applied twice",
        claims=(Recomputed("cross_entropy", twice(asarray(z)).numpy(), 1e-12),),
    )  # fmt: skip
    floor = stated(
        "the floor", "No logits take that loss below log(1 + (C − 1)/e)",
        "log(1 + (C − 1) / e)", {"C": 3}, rule="probabilities lie between 0 and 1",
    )  # fmt: skip
    return Section(
        "softmax twice",
        (right, wrong, floor),
        summary="the loss cannot fall below log(1 + (C − 1)/e), here 0.5514, however sure it is",
    )


def log_of_softmax(b: Batch) -> Section:
    """A probability below the smallest float32 has the logarithm −∞; log-softmax has not."""
    logits, target = np.array([10.0, 92.0, 30.0, -50.0, 40.0]), 3
    right = stated(
        "−log p", "−log softmax, as log-softmax computes it: logarithm of the sum minus the logit",
        "log(Σ_j exp(z[j])) − z[c]", {"z": logits, "c": target}, rule="log-sum-exp",
    )  # fmt: skip
    with np.errstate(divide="ignore"):
        shifted = np.exp((logits - logits.max()).astype(np.float32))
        p = shifted / shifted.sum()
        naive = -np.log(p)[target]
    wrong = Step(
        "−log p in two steps",
        "softmax first, then the logarithm, in float32",
        rule="underflow: exp(−142) is below the smallest float32, 1.4e−45, and becomes 0",
        value=np.asarray(naive),
        claims=(Recomputed("−log of the probability 0", np.asarray(np.inf), 0.0),),
        notes=(f"p = {describe(p)}",),
    )
    return Section(
        "the log of a softmax", (right, wrong), summary="142 or infinity, for the same logits"
    )


def stale_gradients(b: Batch) -> Section:
    """Gradients add up until they are cleared."""

    def loss(u: Tensor) -> Tensor:
        return ((asarray(b.x) @ u - asarray(b.t)) ** 2).mean() / 2

    first = grad(loss)(asarray(b.u)).numpy()
    moved = b.u - 0.1 * first
    second = grad(loss)(asarray(moved)).numpy()
    right = stated(
        "the second gradient", "The gradient at the weights after the first step",
        "g[j] = (Σ_n (Σ_k x[n, k] · u[k] − t[n]) · x[n, j]) / |n|",
        {"x": b.x, "u": moved, "t": b.t}, (4,), rule="the derivative of a mean",
        claims=(Slope(loss, moved),),
    )  # fmt: skip
    wrong = stated(
        "the gradient not cleared", "What is there where the first one was not cleared",
        "g[j] = a[j] + b[j]", {"a": first, "b": second}, (4,), rule="a sum over two steps",
        names={"a": "the first gradient", "b": "the second gradient"},
    )  # fmt: skip
    return _compared(
        "stale gradients", right, wrong,
        "backward() adds to what is there; a step of an optimiser here clears it", sizes=(),
    )  # fmt: skip


def missing_two(b: Batch) -> Section:
    """d(e²) = 2e."""
    operands = {"x": b.x, "u": b.u, "t": b.t}
    residual = "(Σ_k x[n, k] · u[k] − t[n])"

    def loss(u: Tensor) -> Tensor:
        return ((asarray(b.x) @ u - asarray(b.t)) ** 2).mean()

    right = stated(
        "∂MSE/∂u", "The gradient of the mean squared error",
        f"g[j] = 2 · (Σ_n {residual} · x[n, j]) / |n|", operands, (4,), rule="the power rule",
        claims=(Slope(loss, b.u),),
    )  # fmt: skip
    wrong = stated(
        "∂MSE/∂u without the 2", "The gradient of half of it",
        f"g[j] = (Σ_n {residual} · x[n, j]) / |n|", operands, (4,), rule="a factor left out",
    )  # fmt: skip
    return _compared(
        "the 2 of a square", right, wrong,
        "½Σ(t − o)² in the formula and Σ(t − o)² in the code: the rate is half of what was meant",
        sizes=(),
    )  # fmt: skip


def broadcast_accident(b: Batch) -> Section:
    """(32, 1) minus (32,) is (32, 32): every output is compared with every target."""
    out = (b.x @ b.u)[:, None]
    right = stated(
        "MSE", "Each output against its own target", "(Σ_n (o[n, 0] − t[n])²) / |n|",
        {"o": out, "t": b.t}, claims=(
            Recomputed("NumPy", np.mean((out[:, 0] - b.t) ** 2), 1e-12),
        ),
    )  # fmt: skip
    wrong = stated(
        "MSE of a broadcast", "Each output against every target",
        "(Σ_{n, m} (o[n, 0] − t[m])²) / (|n| · |m|)", {"o": out, "t": b.t},
        rule="a broadcast of (32, 1) and (32,)",
        claims=(Recomputed("NumPy", np.mean((out - b.t) ** 2), 1e-12),),
    )  # fmt: skip
    return Section(
        "(n, 1) − (n,)",
        (right, wrong),
        summary="the loss is least where every output is the mean of the targets",
    )


def diagonal_jacobian(b: Batch) -> Section:
    """The softmax's Jacobian is diag(p) − p pᵀ; its diagonal alone is no derivative."""
    z = b.x @ b.w.T @ b.v.T
    p = "p[n, j] = exp(z[n, j]) / Σ_k exp(z[n, k]); "
    right = stated(
        "∂L/∂z", "Through every probability: (p − y)/n", p + "g[n, j] = (p[n, j] − y[n, j]) / |n|",
        {"z": z, "y": b.onehot}, (N, 3), rule="sum over paths",
        claims=(Slope(lambda t: _cross_entropy(b, t), z),),
    )  # fmt: skip
    wrong = stated(
        "∂L/∂z by the diagonal", "Through each probability's own logit alone: −(y/p) · p(1 − p)/n",
        p + "g[n, j] = −y[n, j] / p[n, j] · p[n, j] · (1 − p[n, j]) / |n|",
        {"z": z, "y": b.onehot}, (N, 3), rule="paths left out",
    )  # fmt: skip
    return _compared(
        "the diagonal of a Jacobian", right, wrong,
        "right for the class that is right, 0 instead of p for all others", sizes=(N,),
    )  # fmt: skip
