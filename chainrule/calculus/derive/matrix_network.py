"""The network of a product: matrices between indices, vectors at indices.

The summed indices are taken away one after another, as resistors in series and in parallel are:

    one matrix ends there        A v                 (v the vectors there, 𝟏 if there are none)
    two matrices meet there      A diag(v) B
    none                         uᵀ v, ‖u‖², 𝟏ᵀ u
    two between the same pair    A ⊙ B, or tr(Aᵀ B) where both ends are summed
"""

from __future__ import annotations

from chainrule.calculus.derive.matrix_tree import (
    Diagonal,
    Hadamard,
    Identity,
    Matrix,
    Norm,
    Ones,
    Power,
    Times,
    Trace,
    power,
    times,
    transposed,
    transposes,
)
from chainrule.calculus.derive.matrix_writing import Plain, scalar_order


class NoMatrixFormError(Exception):
    """A product in which three matrices meet at one index."""


class Network:
    """Matrices between indices, vectors at indices; see the top of the file."""

    def __init__(self, out: tuple[int, ...], sizes: tuple[int, ...]) -> None:
        self.out, self.sizes = out, sizes
        self.edges: list[tuple[Matrix, int, int]] = []
        self.weights: dict[int, list[Matrix]] = {}
        self.scalars: list[Matrix] = []
        self.waiting: list[int] = []

    def _settle(self) -> None:
        """Take the summed indices away, those with the fewest matrices first."""
        self._loops()
        while self.waiting:
            for step in (self._alone, self._ends, self._pairs, self._between, self._meets):
                if step():
                    break
            else:
                raise NoMatrixFormError

    def _loops(self) -> None:
        """A matrix with one index twice is the vector on its diagonal, or a trace."""
        for edge in list(self.edges):
            part, a, b = edge
            if a != b:
                continue
            self.edges.remove(edge)
            others = any(a in e[1:] for e in self.edges) or self.weights.get(a)
            if a in self.waiting and not others:
                self.waiting.remove(a)
                self.scalars.append(Trace(0, _least_transposed(part, trace=True)))
            else:
                self.weights.setdefault(a, []).append(Diagonal(1, part))

    def _at(self, index: int) -> list[tuple[Matrix, int, int]]:
        return [e for e in self.edges if index in e[1:]]

    def _ones(self, index: int) -> Matrix:
        return Ones(1, self.sizes[index])

    def _weight(self, index: int) -> Matrix | None:
        found = self.weights.pop(index, [])
        return hadamard(found) if found else None

    def _alone(self) -> bool:
        for i in self.waiting:
            if not self._at(i):
                self.waiting.remove(i)
                self.scalars.append(inner(self.weights.pop(i, []), self.sizes[i]))
                return True
        return False

    def _ends(self) -> bool:
        for i in self.waiting:
            found = self._at(i)
            if len(found) == 1:
                part, a, b = found[0]
                j = b if a == i else a
                if j in self.waiting and len(self._at(j)) == 1:
                    return self._lone_edge(found[0], i, j)
                self.waiting.remove(i)
                self.edges.remove(found[0])
                facing = part if b == i else transposed(part)
                self.weights.setdefault(j, []).append(
                    times(1, facing, self._weight(i) or self._ones(i))
                )
                return True
        return False

    def _lone_edge(self, edge: tuple[Matrix, int, int], i: int, j: int) -> bool:
        """A matrix with both ends summed: uᵀAv, or ‖A‖²."""
        part, a, b = edge
        self.edges.remove(edge)
        self.waiting.remove(i)
        self.waiting.remove(j)
        if (
            isinstance(part, Power)
            and part.exponent == 2
            and not (self.weights.get(a) or self.weights.get(b))
        ):
            self.scalars.append(Norm(0, part.part, 2))
            return True
        u, v = self._weight(a) or self._ones(a), self._weight(b) or self._ones(b)
        self.scalars.append(_shorter(times(0, transposed(u), part, v)))
        return True

    def _pairs(self) -> bool:
        """Two matrices between a pair of summed indices where nothing else is."""
        for i in self.waiting:
            found = self._at(i)
            if len(found) != 2 or self.weights.get(i):
                continue
            (p, a, b), (q, c, d) = found
            if {a, b} != {c, d}:
                continue
            j = b if a == i else a
            if j not in self.waiting or len(self._at(j)) != 2 or self.weights.get(j):
                continue
            self.edges = [e for e in self.edges if e not in found]
            self.waiting = [k for k in self.waiting if k not in (i, j)]
            second = q if (c, d) == (b, a) else transposed(q)
            self.scalars.append(Trace(0, _least_transposed(times(2, p, second), trace=True)))
            return True
        return False

    def _between(self) -> bool:
        """Two matrices between one pair of indices."""
        for k, (_, a, b) in enumerate(self.edges):
            same = [e for e in self.edges[k + 1 :] if {e[1], e[2]} == {a, b}]
            if same and (a in self.waiting or b in self.waiting):
                self._merge(k, same)
                return True
        return False

    def _merge(self, k: int, same: list[tuple[Matrix, int, int]]) -> None:
        p, a, b = self.edges[k]
        parts = [p, *(q if (c, d) == (a, b) else transposed(q) for q, c, d in same)]
        self.edges = [e for j, e in enumerate(self.edges) if j != k and e not in same]
        self.edges.append((hadamard(parts), a, b))

    def _meets(self) -> bool:
        for i in self.waiting:
            found = self._at(i)
            if len(found) != 2:
                continue
            (p, a, b), (q, c, d) = found
            left, j = (p, a) if b == i else (transposed(p), b)
            right, k = (q, d) if c == i else (transposed(q), c)
            self.edges = [e for e in self.edges if e not in found]
            self.waiting.remove(i)
            middle = self._weight(i)
            parts = [left, right] if middle is None else [left, Diagonal(2, middle), right]
            self.edges.append((times(2, *parts), j, k))
            self._loops()
            return True
        return False

    def result(self, top: list[Matrix], bottom: list[Matrix]) -> Matrix | None:
        """What is left between the result's indices; numbers go to `top` and `bottom`."""
        self._settle()
        for scalar in self.scalars:
            top.append(scalar)
        if not self.out:
            return None
        if len(self.out) == 1:
            weights = self.weights.get(self.out[0], [])
            return hadamard(weights) if weights else self._ones(self.out[0])
        i, j = self.out
        if i == j:
            weights = self.weights.get(i, [])
            return Diagonal(2, hadamard(weights)) if weights else Identity(2, self.sizes[i])
        u, v = self._weight(i), self._weight(j)
        if not self.edges:
            return times(2, u or self._ones(i), transposed(v or self._ones(j)))
        parts = [p if (a, b) == (i, j) else transposed(p) for p, a, b in self.edges]
        inside = hadamard(parts)
        around = [] if u is None else [Diagonal(2, u)]
        after = [] if v is None else [Diagonal(2, v)]
        return times(2, *around, inside, *after)


def hadamard(parts: list[Matrix]) -> Matrix:
    """The product element by element; powers below zero go under the stroke."""
    top: list[Matrix] = []
    bottom: list[Matrix] = []
    for part in parts:
        if isinstance(part, Power) and part.exponent < 0:
            bottom.append(power(part.part, -part.exponent))
        elif isinstance(part, Hadamard):
            top.extend(part.parts)
            bottom.extend(part.bottom)
        elif not isinstance(part, Ones):
            top.append(part)
    top.sort(key=scalar_order)
    bottom.sort(key=scalar_order)
    rank = parts[0].rank
    if not bottom:
        return top[0] if len(top) == 1 else Hadamard(rank, tuple(top)) if top else parts[0]
    return Hadamard(rank, tuple(top), tuple(bottom))


def inner(vectors: list[Matrix], size: int) -> Matrix:
    """Σ of the product of vectors: uᵀv, ‖u‖², 𝟏ᵀu; of none, how many there are."""
    ones = Ones(1, size)
    if not vectors:
        return times(0, transposed(ones), ones)
    if len(vectors) == 1:
        (u,) = vectors
        if isinstance(u, Power) and u.exponent == 2:
            return Norm(0, u.part, 2)
        if isinstance(u, Hadamard) and len(u.parts) == 2 and not u.bottom:
            return _shorter(times(0, transposed(u.parts[0]), u.parts[1]))
        return times(0, transposed(ones), u)
    vectors = sorted(vectors, key=scalar_order)
    return _shorter(times(0, transposed(vectors[0]), hadamard(vectors[1:])))


def _shorter(part: Matrix) -> Matrix:
    """A number that is a product, in the direction that reads better."""
    return min((part, transposed(part)), key=lambda p: (transposes(p), Plain().write(p)))


def _least_transposed(part: Matrix, trace: bool = False) -> Matrix:
    """A trace's product in the direction, and begun at the factor, that reads best."""
    if not isinstance(part, Times):
        return min((part, transposed(part)), key=transposes)
    found = []
    for way in (part, transposed(part)):
        factors = way.parts if isinstance(way, Times) else (way,)
        for k in range(len(factors)):
            turned = times(2, *factors[k:], *factors[:k])
            found.append(turned)
    return min(found, key=lambda p: (transposes(p), Plain().write(p)))
