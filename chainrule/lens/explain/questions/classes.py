"""Probabilities of classes: softmax, −log p of the right one, and how unsure the output is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chainrule.errors import DataError, DTypeError
from chainrule.lens.explain.derivation import Step
from chainrule.lens.explain.remark import Remark, quoted, remarked
from chainrule.lens.explain.statement import Recomputed, SumsTo, stated
from chainrule.ops.activation import sigmoid
from chainrule.ops.softmax import log_softmax, softmax
from chainrule.tensor.tensor import Tensor

SHOWN = 5
WHAT_IF = (0.95, 0.05)
"""Probabilities of the right class for which the loss is told, too."""


def class_steps(
    logits: np.ndarray,
    source: str,
    operands: tuple[str, ...],
    target: int | np.ndarray | None,
    classes: Sequence[str] | None,
) -> list[Step]:
    """Logits → softmax → the probability of the right class → −log; entropy and perplexity.

    Args:
        logits: (C,), float64.
        source: of what they are, in words.
        operands: what they were taken from, by name.
        target: the right class, or a probability for each; None where it is not known.
        classes: the names of the classes.

    Raises:
        DataError: as many names as there are classes are needed.
    """
    size = len(logits)
    if classes is not None and not isinstance(classes, Sequence | np.ndarray):
        raise DTypeError(f"classes are names, one for each class, not {classes!r}")
    if classes is not None and len(classes) != size:
        raise DataError(f"{len(classes)} names of classes, and the output has {size} of them")
    names = [str(k) if classes is None else f"‘{classes[k]}’" for k in range(size)]
    p = softmax(Tensor(logits)).numpy()
    order = [int(k) for k in np.argsort(-p, kind="stable")[:SHOWN]]
    label = target if isinstance(target, int) else None
    told = order if label is None or label in order else [*order[:-1], label]
    surprisals = 0.0 - log_softmax(Tensor(logits)).numpy()
    steps = [
        Step("z", f"z = the logits of {source}", operands=operands, rule="the output",
             value=logits, claims=(Recomputed("the output", logits.copy(), 0.0),)),
        remarked(
            stated(
                "p", "p = softmax(z): a probability for each class",
                "p[k] = exp(z[k] − max_j z[j]) / (Σ_j exp(z[j] − max_j z[j]))", {"z": logits},
                (size,), value=p, at=[(k,) for k in told], rule="softmax",
                claims=(SumsTo(1.0, None, 1e-12),),
            ),
            _ranked(p, order, names),
        ),
    ]  # fmt: skip
    if label is not None:
        steps += _right_class(logits, p, label, names[label])
    elif target is not None:
        steps.append(_soft(np.asarray(target), surprisals))
    return [*steps, *_unsure(p, surprisals, "all classes are equally likely")]


def _ranked(p: np.ndarray, order: list[int], names: list[str]) -> Remark:
    shown = ", ".join(f"{quoted(names[k])}: {{}}" for k in order)

    def again(y: np.ndarray) -> tuple[float, ...]:
        return tuple(sorted(map(float, y), reverse=True)[: len(order)])

    return Remark(f"the likeliest classes: {shown}", tuple(float(p[k]) for k in order), again)


def _right_class(logits: np.ndarray, p: np.ndarray, label: int, name: str) -> list[Step]:
    """The probability of the right class, and its negative logarithm."""
    surprisal = np.asarray(0.0 - log_softmax(Tensor(logits)).numpy()[label])
    right = stated(
        "p(y)", f"p(y), the probability of the right class, {name}", "p[k]",
        {"p": p, "k": np.asarray(label)}, value=np.asarray(p[label]),
        rule="one element",
    )  # fmt: skip
    if p[label] > 0:
        formula, operands, named = "−log(q)", {"q": p[label]}, {"q": "p(y)"}
    else:  # softmax was rounded to 0, and its logarithm was not
        formula, operands, named = "log(Σ_j exp(z[j])) − z[k]", {"z": logits, "k": label}, {}
    loss = stated(
        "−log p", "−log p(y): the surprise at the right class", formula, operands,
        value=None if p[label] > 0 else surprisal, names=named,
        rule="negative log-likelihood", digits=6,
    )  # fmt: skip
    return [right, loss, _what_if()]


def _soft(target: np.ndarray, surprisals: np.ndarray) -> Step:
    """The expected surprise, where the target is a distribution itself."""
    value = math.fsum(t * s for t, s in zip(target, surprisals, strict=True) if t)
    return stated(
        "−log p", "the surprise, as expected under the target's own probabilities t",
        "Σ_k t[k] · s[k]", {"t": target, "s": surprisals}, value=np.asarray(value),
        names={"t": "y", "s": "(−log p)"}, rule="cross-entropy", digits=6,
    )  # fmt: skip


def _what_if() -> Step:
    """The loss at other probabilities of the right class."""
    q = np.array(WHAT_IF)
    return stated(
        "what if", "the loss at other probabilities of the right class: sure and right, sure and "
        "wrong", "y[i] = −log(q[i])", {"q": q}, (2,),
        value=-np.log(q), names={"q": "a probability"}, at=[(0,), (1,)],
        rule="negative log-likelihood",
    )  # fmt: skip


def _unsure(p: np.ndarray, surprisals: np.ndarray, why: str) -> list[Step]:
    """Entropy beside its largest value, and the perplexity."""
    possible = p > 0
    some, each = p[possible], surprisals[possible]
    entropy = np.asarray(math.fsum(a * b for a, b in zip(some, each, strict=True)))
    size = p.size
    shown = stated(
        "H", "H = the entropy of the output, in nats: how unsure it is, the surprise expected",
        "Σ_k p[k] · s[k]", {"p": some, "s": each}, value=entropy, names={"s": "(−log p)"},
        rule="entropy",
    )  # fmt: skip
    most = stated(
        "H max", f"log {size}: the entropy is largest where {why}", "log(c)", {"c": size},
        value=np.asarray(math.log(size)), names={"c": "classes"}, rule="entropy of equals",
    )  # fmt: skip
    perplexity = stated(
        "perplexity", "the perplexity: among how many equal classes one is as unsure", "exp(h)",
        {"h": entropy}, value=np.asarray(math.exp(entropy)), names={"h": "H"}, rule="perplexity",
    )  # fmt: skip
    text = "as unsure as a fair choice among {}, of {} that there are; {} of the largest entropy"
    share = float(entropy) / math.log(size) if size > 1 else 0.0

    def again(y: np.ndarray) -> tuple[float, ...]:
        return float(y), size, math.log(float(y)) / math.log(size) if size > 1 else 0.0

    remark = Remark(text, (math.exp(entropy), size, share), again)
    return [shown, most, remarked(perplexity, remark)]


def yes_or_no_steps(
    logit: float, source: str, operands: tuple[str, ...], target: float
) -> list[Step]:  # fmt: skip
    """A logit → sigmoid → the probability of what came true → −log; entropy and perplexity.

    Args:
        target: 1 for a yes, 0 for a no; in between, the probability of a yes.
    """
    z = np.asarray(logit)
    p = np.asarray(sigmoid(Tensor(z)).item())
    q = np.asarray(sigmoid(Tensor(np.asarray(-logit))).item())  # 1 − p, to all of its digits
    surprisals = np.logaddexp(0, np.array([-logit, logit]))
    steps = [
        Step("z", f"z = the logit of {source}", operands=operands, rule="the output", value=z,
             claims=(Recomputed("the output", z.copy(), 0.0),)),
        stated("p", "p = σ(z): the probability of a yes", "1 / (1 + exp(−z))", {"z": z}, value=p,
               rule="sigmoid"),
        stated("1 − p", "1 − p = σ(−z): the probability of a no", "1 / (1 + exp(z))", {"z": z},
               value=q, rule="sigmoid"),
    ]  # fmt: skip
    if target in (0, 1):
        steps += _came_true(p, q, int(target), surprisals)
    else:
        steps.append(_soft(np.array([target, 1 - target]), surprisals))
    why = "yes and no are equally likely"
    return [*steps, *_unsure(np.array([p, q]), surprisals, why)]


def _came_true(p: np.ndarray, q: np.ndarray, label: int, surprisals: np.ndarray) -> list[Step]:
    """The probability of what came true, and its negative logarithm."""
    right = p if label else q
    surprisal = np.asarray(surprisals[1 - label])
    happened = stated(
        "p(y)", f"p(y), the probability of what came true, y = {label}", "p if y = 1 else q",
        {"p": p, "q": q, "y": label}, value=right, names={"q": "1 − p"}, rule="Bernoulli",
    )  # fmt: skip
    if right > 0:
        formula, given, named = "−log(q)", {"q": right}, {"q": "p(y)"}
    else:  # the sigmoid was rounded to 0, and its logarithm was not
        formula, given, named = "a", {"a": surprisal}, {"a": "|z|"}
    loss = stated(
        "−log p", "−log p(y): the surprise at what came true", formula, given,
        value=None if right > 0 else surprisal, names=named,
        rule="negative log-likelihood", digits=6,
    )  # fmt: skip
    return [happened, loss, _what_if()]
