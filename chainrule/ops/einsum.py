"""Einstein's summation: products of any arrays, added up over what the result does not name.

The operands are contracted pair by pair, each by one matrix product. Which pair is next decides
what it costs: up to four operands every order is compared, beyond that the cheapest next pair is
taken (as in Smith and Gray 2018, opt_einsum, J. Open Source Software 3, 753).
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from functools import reduce
from itertools import combinations
from typing import Any

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.indexing import getitem
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.operation import operands
from chainrule.ops.reduction import sum
from chainrule.ops.structure import permute_dims, reshape
from chainrule.tensor.creation import arange
from chainrule.tensor.tensor import Tensor

Labels = tuple[str, ...]
_EVERY_ORDER = 4  # operands for which all orders are compared: 18 for four, 180 for five


# The notation


def _from_lists(args: Sequence[Any]) -> tuple[str, list[Any]]:
    """(equation, operands) of NumPy's other form: einsum(a, [0, 1], b, [1, 2], [0, 2])."""
    letters = string.ascii_letters

    def term(numbers: Any) -> str:
        text = ""
        for n in numbers:
            whole = hasattr(n, "__index__") and not isinstance(n, bool)
            if n is not Ellipsis and not (whole and 0 <= int(n) < len(letters)):
                raise DTypeError(f"an axis is called by a number 0 … {len(letters) - 1}, not {n!r}")
            text += "..." if n is Ellipsis else letters[int(n)]
        return text

    pairs, rest = args[: len(args) // 2 * 2], args[len(args) // 2 * 2 :]
    equation = ",".join(term(names) for names in pairs[1::2])
    return equation + (f"->{term(rest[0])}" if rest else ""), list(pairs[::2])


def _arguments(*args: Any) -> tuple[tuple, dict[str, Any]]:
    if not args:
        raise DTypeError(
            'an equation and its operands are missing; write einsum("ij,jk->ik", a, b)'
        )
    equation, given = args[0], list(args[1:])
    if not isinstance(equation, str):
        if len(args) < 2 or isinstance(args[1], Tensor):
            raise DTypeError(f'the equation is text such as "ij,jk->ik", not {equation!r}')
        equation, given = _from_lists(args)
    return operands(*given), {"equation": "".join(equation.split())}


def _term(text: str, equation: str) -> list[str]:
    """The labels of one term, with "..." as one of them."""
    front, dots, back = text.partition("...")
    if not all(c in string.ascii_letters for c in front + back):
        bad = next(c for c in front + back if c not in string.ascii_letters)
        raise ShapeError(
            f"{bad!r} in {equation!r} is no label: axes are called by letters, and several by '...'"
        )
    return [*front, *([dots] if dots else []), *back]


def _parse(equation: str, shapes: Sequence[tuple[int, ...]]) -> tuple[list[Labels], Labels]:
    """(the labels of each operand's axes, those of the result); the axes of an ellipsis are
    called by their place from the right."""
    left, arrow, right = equation.partition("->")
    terms = [_term(text, equation) for text in left.split(",")]
    if len(terms) != len(shapes):
        raise ShapeError(f"{equation!r} is of {len(terms)} operands, and {len(shapes)} are given")
    labelled: list[Labels] = []
    widest = 0
    for term, shape in zip(terms, shapes, strict=True):
        hidden = len(shape) - (len(term) - 1 if "..." in term else len(term))
        if hidden < 0 or (hidden and "..." not in term):
            raise ShapeError(
                f"{''.join(term)!r} in {equation!r} names {len(term)} axes, and its operand is "
                f"{shape}" + (". Write ... for the others." if hidden > 0 else "")
            )
        widest = max(widest, hidden)
        labelled.append(_spelt(term, hidden))
    ellipsis = _spelt(["..."], widest)
    if not arrow:
        seen = [c for term in terms for c in term if c != "..."]
        return labelled, (*ellipsis, *sorted(c for c in set(seen) if seen.count(c) == 1))
    names = _term(right, equation)
    output = _spelt(names, widest)
    known = {label for labels in labelled for label in labels}
    for label in output:
        if label not in known:
            raise ShapeError(f"{label!r} in the result of {equation!r} is in none of the operands")
        if output.count(label) > 1:
            raise ShapeError(f"{label!r} is twice in the result of {equation!r}")
    if widest and "..." not in names:
        raise ShapeError(
            f"the axes of '...' in {equation!r} are to be added up? Give them labels of their own, "
            "or write ... in the result"
        )
    return labelled, output


def _spelt(term: list[str], hidden: int) -> Labels:
    dots = [f"…{i}" for i in range(hidden, 0, -1)]
    return tuple(label for name in term for label in (dots if name == "..." else [name]))


def _sizes(terms: list[Labels], shapes: Sequence[tuple[int, ...]], equation: str) -> dict[str, int]:
    """The size that each label stands for; axes of size 1 broadcast."""
    found: dict[str, int] = {}
    for labels, shape in zip(terms, shapes, strict=True):
        for label, n in zip(labels, shape, strict=True):
            m = found.setdefault(label, n)
            if m == 1:
                found[label] = n
            elif n not in (1, m):
                listed = " and ".join(map(str, shapes))
                name = "..." if label.startswith("…") else label
                raise ShapeError(
                    f"{name!r} in {equation!r} stands for {m} and for {n}, in {listed}"
                )
    return found


# The contraction


def _diagonal(x: Tensor, labels: Labels) -> tuple[Tensor, Labels]:
    """Axes of the same label made one, of their diagonal."""
    for label in dict.fromkeys(labels):
        places = [i for i, name in enumerate(labels) if name == label]
        if len(places) == 1:
            continue
        n = x.shape[places[0]]
        if any(x.shape[i] != n for i in places):
            raise ShapeError(f"the diagonal {''.join(labels)!r} is of equal sizes, not {x.shape}")
        rest = [i for i in range(x.ndim) if i not in places]
        x = permute_dims(x, (*rest, *places))
        x = getitem(x, (Ellipsis, *(arange(n) for _ in places)))
        labels = (*(labels[i] for i in rest), label)
    return x, labels


def _alone(x: Tensor, labels: Labels, sizes: dict[str, int], keep: set[str]) -> tuple:
    """An operand without what only it has and the result has not, and without axes to broadcast."""
    x, labels = _diagonal(x, labels)
    wide = [x.shape[i] == sizes[label] for i, label in enumerate(labels)]
    if not all(wide):
        x = reshape(x, tuple(n for n, w in zip(x.shape, wide, strict=True) if w))
        labels = tuple(label for label, w in zip(labels, wide, strict=True) if w)
    return _summed(x, labels, keep)


def _summed(x: Tensor, labels: Labels, keep: set[str]) -> tuple[Tensor, Labels]:
    axes = tuple(i for i, label in enumerate(labels) if label not in keep)
    if not axes:
        return x, labels
    return sum(x, axes, dtype=x.dtype), tuple(label for label in labels if label in keep)


def _contract(
    a: Tensor, la: Labels, b: Tensor, lb: Labels, sizes: dict[str, int], keep: set[str]
) -> tuple[Tensor, Labels]:
    """The product of two operands, added up over what nothing else needs: one matrix product."""
    both = [label for label in la if label in lb]
    batch = [label for label in both if label in keep]
    inner = [label for label in both if label not in keep]
    rows = [label for label in la if label not in lb]
    columns = [label for label in lb if label not in la]

    def arranged(x: Tensor, labels: Labels, *groups: list[str]) -> Tensor:
        order = tuple(labels.index(label) for group in groups for label in group)
        flat = tuple(math.prod(sizes[label] for label in group) for group in groups)
        return reshape(permute_dims(x, order), flat)

    if inner:
        y = matmul(arranged(a, la, batch, rows, inner), arranged(b, lb, batch, inner, columns))
    else:
        y = arranged(a, la, batch, rows, []) * arranged(b, lb, batch, [], columns)
    labels = (*batch, *rows, *columns)
    return reshape(y, tuple(sizes[label] for label in labels)), labels


def _cost(a: Labels, b: Labels, sizes: dict[str, int]) -> int:
    return math.prod(sizes[label] for label in {*a, *b})


def _joined(terms: Sequence[Labels], i: int, j: int, output: set[str]) -> list[Labels]:
    """The terms after the contraction of two of them, whose product is the last."""
    rest = [term for k, term in enumerate(terms) if k not in (i, j)]
    keep = output.union(*rest)
    return [*rest, tuple(label for label in {*terms[i], *terms[j]} if label in keep)]


def _best(terms: Sequence[Labels], output: set[str], sizes: dict[str, int]) -> tuple[int, list]:
    """(multiplications, pairs) of the cheapest order of all."""
    if len(terms) == 1:
        return 0, []
    found = []
    for i, j in combinations(range(len(terms)), 2):
        cost, path = _best(_joined(terms, i, j, output), output, sizes)
        found.append((cost + _cost(terms[i], terms[j], sizes), [(i, j), *path]))
    return min(found, key=lambda way: way[0])


def _next(terms: Sequence[Labels], output: set[str], sizes: dict[str, int]) -> tuple[int, int]:
    """The pair whose product is smallest beside what it replaces; of equals the cheapest."""

    def growth(pair: tuple[int, int]) -> tuple[int, int]:
        i, j = pair
        made = math.prod(sizes[label] for label in _joined(terms, i, j, output)[-1])
        gone = [math.prod(sizes[label] for label in terms[k]) for k in pair]
        return made - reduce(int.__add__, gone), _cost(terms[i], terms[j], sizes)

    return min(combinations(range(len(terms)), 2), key=growth)


def _samples() -> list:
    a, b, c = sampled(2, 3), sampled(3, 4), sampled(4, 2)
    cases: list[Any] = [
        ("ij,jk->ik", a, b),
        ("ij,jk,kl", a, b, c),
        ("ij,jk,kl,li->", a, b, c, sampled(2, 2)),
        ("ii->i", sampled(3, 3)),
        ("ii", sampled(3, 3)),
        ("iij,ji->j", sampled(2, 2, 3), sampled(3, 2)),
        ("...ij,...jk->...ik", sampled(2, 1, 2, 3), sampled(3, 3, 2)),
        ("...i->i...", sampled(2, 3)),
        ("i,j->ji", sampled(2), sampled(3)),
        ("bij,bj->bi", sampled(2, 3, 4), sampled(2, 4)),
        ("ij,ij->", a, a + 1),
        ("i,i,i,i,i->i", *(sampled(2) + n for n in range(5))),
        ("ij,j", sampled(0, 3), sampled(3)),
        (",->", sampled(), sampled()),
        ("ij,ij->ij", sampled(2, 1), sampled(2, 3)),
    ]
    return [(case, {}) for case in cases]


@composite(
    formula="y = Σ over the labels that the result lacks, of the product of all operands",
    display_only=True,
    arguments=_arguments,
    operations=lambda y, *xs, equation: _flops(xs, equation),
    samples=_samples,
)
def einsum(*xs: Tensor, equation: str) -> Tensor:
    """The product of arrays, added up over the labels that the result does not name.

    Args:
        equation: a term of letters for each operand, one for each axis, and behind "->" those of
            the result: "ij,jk->ik". Without "->" the result has the labels that are there once,
            in alphabetical order. A letter twice in one term means the diagonal; "..." any other
            axes, which broadcast. Spaces do not matter. (NumPy's lists of numbers are taken, too.)
        xs: the operands.

    Raises:
        ShapeError: the equation does not fit the operands; it says where.

    >>> import chainrule as cr
    >>> a, b = cr.asarray([[1.0, 2.0]]), cr.asarray([[3.0], [4.0]])
    >>> cr.einsum("ij,jk->ik", a, b)
    tensor([[11.]])
    >>> cr.einsum("ii", cr.eye(3)).item()
    3.0
    """
    shapes = [x.shape for x in xs]
    labels, output = _parse(equation, shapes)
    sizes = _sizes(labels, shapes, equation)
    wanted = set(output)
    terms = []
    for i, x in enumerate(xs):
        others = wanted.union(*labels[:i], *labels[i + 1 :])
        terms.append(_alone(x, labels[i], sizes, others))
    path: list[tuple[int, int]] | None = None
    if len(terms) <= _EVERY_ORDER:
        path = _best([names for _, names in terms], wanted, sizes)[1]
    while len(terms) > 1:
        i, j = path.pop(0) if path else _next([names for _, names in terms], wanted, sizes)
        (a, la), (b, lb) = terms[i], terms[j]
        rest = [term for k, term in enumerate(terms) if k not in (i, j)]
        keep = wanted.union(*(names for _, names in rest))
        a, la = _summed(a, la, keep.union(lb))
        b, lb = _summed(b, lb, keep.union(la))
        terms = [*rest, _contract(a, la, b, lb, sizes, keep)]
    ((y, names),) = terms
    y, names = _summed(y, names, wanted)
    return permute_dims(y, tuple(names.index(label) for label in output))


def _flops(xs: Sequence[Any], equation: str) -> int:
    """A product and a sum for every set of labels that meets, in the cheapest order of pairs."""
    shapes = [x.shape for x in xs]
    terms, output = _parse(equation, shapes)
    sizes = _sizes(terms, shapes, equation)
    total, wanted = 0, set(output)
    while len(terms) > 1:
        i, j = _next(terms, wanted, sizes)
        total += 2 * _cost(terms[i], terms[j], sizes)
        terms = _joined(terms, i, j, wanted)
    return total or math.prod(shapes[0])
