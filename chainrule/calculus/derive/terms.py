"""Terms: what a formula is made of. Equal terms are one object.

There are five kinds. A `Variable` is a named array, a `Constant` a number or an array of numbers,
an `Applied` an operation of the registry on terms. Everything that only adds, multiplies, copies
and moves numbers is a `Product` or a `Sum`:

    Product   y[out] = Σ over all other indices of Π_k factor_k[indices of k]
    Sum       y = Σ_k c_k · term_k, the c_k numbers

A product is the registry's `einsum`, and its result may say an index twice (a diagonal: y[i, j] = 0
where i ≠ j) or have one that no factor has (the same number all along it). So transposing, tracing,
summing, broadcasting, diagonal matrices and the identity need no kinds of their own: the identity
is the product of no factors with the result [i, i].
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from chainrule.calculus.derive.canonical import canonical, one_for_all
from chainrule.ops.operation import Operation
from chainrule.tensor.graph import OFF, quiet, recording
from chainrule.tensor.tensor import Tensor

Shape = tuple[int, ...]
Indices = tuple[int, ...]
Number = Fraction | float
_known: WeakValueDictionary[str, Term] = WeakValueDictionary()


class Term:
    """A part of a formula. Immutable; two equal ones are the same object.

    Attributes:
        shape: of its value.
        kind: NumPy's letter of its dtype: "f", "i" or "b".
        args: the terms that it is made of.
        key: a text that equal terms share, and that orders terms the same way in every run.
        cost: how long it is when it is written out.
    """

    __slots__ = ("__dict__", "__weakref__", "args", "cost", "key", "kind", "shape")
    shape: Shape
    kind: str
    args: tuple[Term, ...]
    key: str
    cost: float

    def __repr__(self) -> str:
        from chainrule.calculus.derive.matrix_form import written

        return f"<{type(self).__name__} {written(self)}>"

    def __reduce__(self) -> Any:
        raise TypeError("terms are not copied or pickled; they are made by derive")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def over(self, args: tuple[Term, ...]) -> Term:
        """The same of other terms."""
        raise NotImplementedError

    def compute(self, values: list[np.ndarray]) -> np.ndarray:
        """Its value from those of its `args`."""
        raise NotImplementedError

    @cached_property
    def variables(self) -> frozenset[Variable]:
        """The variables in it."""
        if isinstance(self, Variable):
            return frozenset((self,))
        return frozenset().union(*(a.variables for a in self.args))

    def evaluate(
        self, values: Mapping[str, Any], memo: dict[Term, np.ndarray] | None = None
    ) -> np.ndarray:
        """Its value in float64, by running the declared operations.

        Args:
            values: an array for each variable's name; one that is not named has its own value.
            memo: keeps what has been computed, for terms that share parts; of these values alone.
        """
        memo = {} if memo is None else memo
        with recording(OFF), quiet():
            for term in topological(self):
                if term in memo:
                    continue
                if isinstance(term, Variable):
                    given = values.get(term.name, term.value)
                    if given is None:
                        raise KeyError(f"there is no value for {term.name}")
                    memo[term] = _float64(given)
                else:
                    memo[term] = np.asarray(term.compute([memo[a] for a in term.args]))
        return memo[self]


def _float64(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array if array.dtype.kind in "iub" else array.astype(np.float64)


def _make(kind: Any, key: str, fill: Any) -> Any:
    """The term of a key; a new one is filled in."""
    digest = hashlib.blake2b(key.encode(), digest_size=12).hexdigest()
    found = _known.get(digest)
    if found is None:
        found = kind.__new__(kind)
        found.key = digest
        fill(found)
        _known[digest] = found
    return found


class Variable(Term):
    """A named array.

    Attributes:
        value: what it has where nothing else is given: whole numbers (labels, indices), arrays from
            outside of the function, and lengths keep theirs.
        role: "array"; "length", of an axis; or "direction", what a linear map is applied to.
    """

    __slots__ = ("name", "role", "value")
    name: str
    value: np.ndarray | None
    role: str

    def over(self, args: tuple[Term, ...]) -> Term:
        return self


def variable(
    name: str, shape: Shape, kind: str = "f", value: Any = None, role: str = "array"
) -> Variable:
    """A variable; see `Variable`."""
    array = None if value is None else np.asarray(value)
    seen = "" if array is None else hashlib.blake2b(array.tobytes()).hexdigest()

    def fill(t: Variable) -> None:
        t.name, t.shape, t.kind, t.value, t.role = name, shape, kind, array, role
        t.args, t.cost = (), 2 if shape else 1

    return _make(Variable, f"variable {name} {shape} {kind} {seen} {role}", fill)


class Constant(Term):
    """An array of numbers that has no name; a plain number has the shape ()."""

    __slots__ = ("value",)
    value: np.ndarray

    def over(self, args: tuple[Term, ...]) -> Term:
        return self

    def compute(self, values: list[np.ndarray]) -> np.ndarray:
        return self.value


def constant(value: Any) -> Term:
    """A constant; an array of one number repeated is that number times ones."""
    array = _float64(value)
    if array.ndim and array.dtype.kind == "f" and array.size and (array == array.flat[0]).all():
        return filled(array.flat[0], array.shape)

    def fill(t: Constant) -> None:
        t.value, t.shape, t.kind, t.args = array, array.shape, array.dtype.kind, ()
        t.cost = 1 if array.ndim == 0 else 2

    return _make(Constant, f"constant {array.dtype} {array.shape} {array.tobytes().hex()}", fill)


class Applied(Term):
    """An operation of the registry on terms; None stands for an operand that was left out."""

    __slots__ = ("attrs", "op", "pattern")
    op: Operation
    attrs: dict[str, Any]
    pattern: tuple[bool, ...]

    def over(self, args: tuple[Term, ...]) -> Term:
        given = iter(args)
        return applied(
            self.op, [next(given) if p else None for p in self.pattern], self.attrs,
            self.shape, self.kind,
        )  # fmt: skip

    @property
    def operands(self) -> tuple[Term | None, ...]:
        """The terms in the places of the operation's operands."""
        given = iter(self.args)
        return tuple(next(given) if p else None for p in self.pattern)

    def compute(self, values: list[np.ndarray]) -> np.ndarray:
        given = iter(values)
        tensors = [Tensor(next(given)) if p else None for p in self.pattern]
        return _float64(self.op.apply(tensors, self.attrs)._value)


_AVOIDED = frozenset({"adjugate", "add_at", "getitem"})
"""Operations that any other way of writing is better than."""


def applied(
    op: Operation,
    operands: Sequence[Term | None],
    attrs: Mapping[str, Any],
    shape: Shape,
    kind: str = "f",
) -> Applied:
    """An operation on terms, whose result has this shape."""
    args = tuple(o for o in operands if o is not None)
    pattern = tuple(o is not None for o in operands)

    def fill(t: Applied) -> None:
        t.op, t.attrs, t.pattern = op, dict(attrs), pattern
        t.args, t.shape, t.kind = args, shape, kind
        plain = 0.9 if op.name == "abs" else 3
        own = 30 if op.name in _AVOIDED else 8 if op.display_only else plain
        t.cost = own + 1.001 * sum(a.cost for a in args)
        if op.name == "pow" and args[1].cost == 0:
            t.cost -= 2 if args[0].cost <= 2 else -2

    inside = " ".join(a.key for a in args)
    settings = repr(sorted(attrs.items(), key=lambda item: item[0]))
    return _make(Applied, f"applied {op.name} {settings} {pattern} {shape} {inside}", fill)


class Product(Term):
    """y[out] = Σ over all other indices of Π_k factors_k[indices_k]; see the top of the file.

    Attributes:
        args: the factors.
        indices: for each factor, an index for each of its axes.
        out: the result's indices, numbered in the order in which they first stand there; the
            others, which are added up over, follow.
        sizes: how many values each index takes.
    """

    __slots__ = ("indices", "out", "sizes")
    indices: tuple[Indices, ...]
    out: Indices
    sizes: Shape

    def over(self, args: tuple[Term, ...]) -> Term:
        sizes = dict(enumerate(self.sizes))
        return product(list(zip(args, self.indices, strict=True)), self.out, sizes)

    @property
    def factors(self) -> list[tuple[Term, Indices]]:
        return list(zip(self.args, self.indices, strict=True))

    @property
    def summed(self) -> tuple[int, ...]:
        """The indices that are added up over."""
        return tuple(range(len(set(self.out)), len(self.sizes)))

    def compute(self, values: list[np.ndarray]) -> np.ndarray:
        out = tuple(dict.fromkeys(self.out))
        factors: dict[tuple[int, ...], np.ndarray] = {}
        for value, indices in zip(values, self.indices, strict=True):  # einsum takes 63 at most
            key, wide = tuple(indices), value.astype(np.float64)
            factors[key] = factors[key] * wide if key in factors else wide
        given: list[Any] = [part for key, value in factors.items() for part in (value, list(key))]
        present = set().union(*self.indices)
        for i, size in enumerate(self.sizes):
            if i not in present:
                given += [np.ones(size), [i]]
        result = np.einsum(*given, list(out), optimize=len(given) > 4) if given else np.ones(())
        if len(out) == len(self.out):
            return np.asarray(result)
        full = np.zeros(self.shape)
        grid = np.indices(result.shape, sparse=True)
        full[tuple(grid[i] for i in self.out)] = result
        return full


def product(
    factors: Sequence[tuple[Term, Sequence[int]]], out: Sequence[int], sizes: Mapping[int, int]
) -> Term:
    """The product of factors with indices; see `Product`. Indices may be any numbers.

    Numbers among the factors are taken to the front, so that a `Sum` of one product comes out.
    """
    coefficient: Number = Fraction(1)
    rest: list[tuple[Term, Indices]] = []
    for term, indices in factors:
        found, inner = coefficient_of(term)
        coefficient *= found
        if not (isinstance(inner, Product) and not inner.args and not inner.shape):
            rest.append((inner, tuple(indices)))
    return scaled(coefficient, _product(rest, tuple(out), sizes))


def _product(rest: list[tuple[Term, Indices]], out: Indices, sizes: Mapping[int, int]) -> Term:
    alone = len(rest) == 1 and rest[0][1] == out and len(set(out)) == len(out)
    if alone and all(i in out or n == 1 for i, n in sizes.items()):
        return rest[0][0]
    rest, sizes = one_for_all(rest, out, sizes)
    used = {*out, *(i for _, given in rest for i in given)}
    rest, number = canonical(rest, out, {i: n for i, n in sizes.items() if n != 1 or i in used})
    ordered = tuple(sizes[i] for i in sorted(number, key=number.__getitem__))
    terms = tuple(t for t, _ in rest)
    indices = tuple(tuple(number[i] for i in given) for _, given in rest)
    result = tuple(number[i] for i in out)
    shape = tuple(sizes[i] for i in out)

    def fill(t: Product) -> None:
        t.args, t.indices, t.out, t.sizes = terms, indices, result, ordered
        t.shape, t.kind = shape, "f"
        used = {i for given in indices for i in given}
        counted = len(number) - len(used.union(result))  # sums of ones
        spread = len(set(result) - used) if terms else 0  # 𝟏s that are written
        # The fractions prefer one product to two, and a transpose outside of a function to inside.
        thin = sum(ordered[i] == 1 for given in indices for i in given)  # axes of length 1
        t.cost = 1.01 + len(terms) + 3 * counted + spread + sum(a.cost for a in terms)
        t.cost += 0.05 * thin

    inside = " ".join(t.key for t in terms)
    return _make(Product, f"product {inside} {indices} {result} {ordered}", fill)


class Sum(Term):
    """Σ_k coefficients_k · args_k, all of one shape; no two args are equal."""

    __slots__ = ("coefficients",)
    coefficients: tuple[Number, ...]

    def over(self, args: tuple[Term, ...]) -> Term:
        return total(list(zip(self.coefficients, args, strict=True)), self.shape)

    @property
    def summands(self) -> list[tuple[Number, Term]]:
        return list(zip(self.coefficients, self.args, strict=True))

    def compute(self, values: list[np.ndarray]) -> np.ndarray:
        result = np.zeros(self.shape)
        for c, value in zip(self.coefficients, values, strict=True):
            result = result + float(c) * value
        return result


def total(summands: Sequence[tuple[Number, Term]], shape: Shape) -> Term:
    """Σ c · term. Equal terms are counted together, summands of 0 left out, and a sum of one term
    taken once is that term."""
    counts: dict[Term, Number] = {}
    for c, term in summands:
        found, inner = coefficient_of(term)
        if is_zero(inner):
            continue
        count = counts.get(inner, Fraction(0)) + c * found
        counts[inner] = as_number(count) if isinstance(count, float) else count
    kept = sorted(((t, c) for t, c in counts.items() if c != 0), key=lambda item: item[0].key)
    if len(kept) == 1 and kept[0][1] == 1:
        return kept[0][0]
    terms, coefficients = tuple(t for t, _ in kept), tuple(c for _, c in kept)

    def fill(t: Sum) -> None:
        t.args, t.coefficients, t.shape, t.kind = terms, coefficients, shape, "f"
        plain = sum(abs(c) != 1 for c in coefficients)
        t.cost = 1 + len(terms) + plain + sum(a.cost for a in terms)

    inside = " ".join(t.key for t in terms)
    return _make(Sum, f"sum {shape} {coefficients} {inside}", fill)


# Small makers


def scaled(c: Number, term: Term) -> Term:
    """c times a term."""
    return term if c == 1 else total([(c, term)], term.shape)


def coefficient_of(term: Term) -> tuple[Number, Term]:
    """(c, t) with term = c · t, where t has no number in front."""
    if isinstance(term, Sum) and len(term.args) == 1:
        return term.coefficients[0], term.args[0]
    if isinstance(term, Constant) and not term.shape and term.kind in "fiub":
        return as_number(float(term.value)), ones(())
    return Fraction(1), term


def magnitude(value: Number) -> Number:
    """|value|, which is of the same kind of number."""
    return -value if value < 0 else value


def as_number(value: float) -> Number:
    """A float as the simple fraction that it is the nearest float to, if it is one."""
    if not math.isfinite(value):
        return value
    found = Fraction(value).limit_denominator(10**6)
    if float(found) == value:
        return found
    simple = Fraction(value).limit_denominator(1000)  # but for rounding
    return simple if abs(float(simple) - value) <= 2 * math.ulp(value) else value


def ones(shape: Shape) -> Term:
    """The number 1 everywhere."""
    return _product([], tuple(range(len(shape))), dict(enumerate(shape)))


def filled(value: float, shape: Shape) -> Term:
    """One number everywhere."""
    return scaled(as_number(float(value)), ones(shape))


def zero(shape: Shape) -> Term:
    return total([], shape)


def is_zero(term: Term) -> bool:
    return isinstance(term, Sum) and not term.args


def is_ones(term: Term) -> bool:
    if not isinstance(term, Product) or term.args:
        return False
    return len(set(term.out)) == len(term.out) == len(term.sizes)


def power(base: Term, exponent: Number) -> Term:
    """base to a power that is a number, element by element."""
    from chainrule.ops.arithmetic import pow

    if exponent == 1:
        return base
    whole = Fraction(exponent).denominator == 1
    found, inner = power_of(base)
    if found != 1 and whole:
        return power(inner, found * exponent)
    coefficient, plain = coefficient_of(base)
    if is_ones(plain) and (coefficient > 0 or (whole and coefficient != 0)):
        exact = isinstance(coefficient, Fraction) and whole
        raised = coefficient ** int(exponent) if exact else float(coefficient) ** float(exponent)
        return scaled(raised, plain)
    if (
        whole
        and isinstance(base, Product)
        and not base.summed
        and base.args
        and len(set(base.out)) == len(base.out)
    ):
        factors = [(power(t, exponent), given) for t, given in base.factors]
        return product(factors, base.out, dict(enumerate(base.sizes)))
    if whole and coefficient != 1 and coefficient != 0:
        c = coefficient ** int(exponent)
        return scaled(c, power(plain, exponent))
    return applied(pow, [base, _exponent(exponent)], {}, base.shape)


def _exponent(exponent: Number) -> Term:
    array = np.asarray(float(exponent))

    def fill(t: Constant) -> None:
        t.value, t.shape, t.kind, t.args, t.cost = array, (), "f", (), 0

    return _make(Constant, f"exponent {float(exponent)!r}", fill)


def power_of(term: Term) -> tuple[Number, Term]:
    """(e, b) with term = b ^ e, e a number; e = 1 where it is no power."""
    if isinstance(term, Applied) and term.op.name == "pow":
        base, exponent = term.args
        if isinstance(exponent, Constant) and not exponent.shape:
            return as_number(float(exponent.value)), base
    return Fraction(1), term


def rearranged(term: Term, given: Sequence[int], out: Sequence[int], shape: Shape) -> Term:
    """A term with these indices on its axes, as an array with the indices `out` of this shape."""
    sizes = {**dict(zip(given, term.shape, strict=True)), **dict(zip(out, shape, strict=True))}
    return product([(term, given)], out, sizes)


# Walking and changing


def weight(root: Term) -> float:
    """How long a term is when what it says several times is written once."""
    return sum(t.cost - sum(a.cost for a in t.args) for t in topological(root))


def topological(*roots: Term) -> list[Term]:
    """Every term in the roots, each after what it is made of; no recursion, however deep."""
    done: dict[Term, None] = {}
    stack: list[tuple[Term, bool]] = [(r, False) for r in reversed(roots)]
    while stack:
        term, ready = stack.pop()
        if term in done:
            continue
        if ready or not term.args:
            done[term] = None
        else:
            stack.append((term, True))
            stack.extend((a, False) for a in reversed(term.args) if a not in done)
    return list(done)


def replaced(root: Term, changes: Mapping[Term, Term]) -> Term:
    """A term with parts of it replaced."""
    new: dict[Term, Term] = {}
    for term in topological(root):
        if term in changes:
            new[term] = changes[term]
        else:
            args = tuple(new[a] for a in term.args)
            new[term] = term if args == term.args else term.over(args)
    return new[root]


def contains(root: Term, part: Term) -> bool:
    return part in root.variables if isinstance(part, Variable) else part in topological(root)
