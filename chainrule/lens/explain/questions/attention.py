"""One position of one head of attention: scores, scaling, mask, softmax, weighted sum of values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.errors import BoundsError, DataError
from chainrule.lens.explain.derivation import Section, Step, Symbols, Words, largest
from chainrule.lens.explain.questions.attending import Attention, attentions
from chainrule.lens.explain.record import Recorded
from chainrule.lens.explain.remark import Remark, quoted, remarked
from chainrule.lens.explain.statement import Recomputed, SumsTo, stated
from chainrule.places import show
from chainrule.tensor.graph import Node
from chainrule.tensor.tensor import Tensor

SHOWN = 5
"""How many keys are written out, and of how many queries it is told."""


def attention_section(
    recorded: Recorded,
    module: str,
    head: int,
    position: int,
    row: int,
    tokens: Sequence[str] | None,
) -> Section:
    """One position of one head, number by number.

    Raises:
        DataError: no attention ran, or none in that module; it says where attention ran.
        BoundsError: head, position or row out of range; it says the range.
    """
    attention = _chosen(recorded, module)
    view = _View(attention, head, position, row, tokens)
    who = view.called(view.position, query=True)
    title = f"Attention in {attention.module or 'the model'}, head {view.head}, {who}"
    title += f", example {view.row}"
    steps = [*view.given(), *view.scores()]
    if not np.isfinite(view.along(attention.softmax.value)).all():
        why = f"the weights of {who} are not finite: where it may look at no key at all, every "
        why += "score is −∞, and softmax divides 0 by 0; nothing behind the scores is explained"
        return Section(title, (Section(f"What {who} looks at", tuple(steps), summary=why),))
    dropped = view.dropped()
    last = dropped[-1].name if dropped else "w"
    steps += [view.weights(), *dropped, view.result(last)]
    grid = Section("The whole head", (view.grid(),))
    return Section(title, (Section(f"What {who} looks at", tuple(steps)), grid))


def _chosen(recorded: Recorded, module: str) -> Attention:
    """The first attention in a module.

    Raises:
        DataError: there is none.
    """
    found = attentions(recorded)
    if not found:
        ran = ", ".join(dict.fromkeys(node.op.name for node in recorded.nodes))
        raise DataError(
            "no attention ran in this model: it is a product of queries and keys, softmax over the "
            f"keys, and a product with the values. What ran: {ran}"
        )
    inside = [a for a in found if not module or f"{a.module}.".startswith(f"{module}.")]
    if not inside:
        where = ", ".join(dict.fromkeys(a.module or "the model itself" for a in found))
        raise DataError(f"no attention ran in {module!r}; it ran in {where}")
    return inside[0]


def _index(value: int, size: int, what: str) -> int:
    if not isinstance(value, (int, np.integer)) or not -size <= value < size:
        raise BoundsError(f"{what} {value!r}: there are {size}, counted from 0 to {size - 1}")
    return int(value) % size


class _View:
    """One query of one head of one example."""

    def __init__(
        self,
        attention: Attention,
        head: int,
        position: int,
        row: int,
        tokens: Sequence[str] | None,
    ) -> None:
        self.attention = attention
        *lead, self.queries, self.keys = attention.scores.shape
        heads, rows = _heads_and_rows(lead, attention.recorded.arguments[0][0])
        self.head = _index(head, heads, "head")
        self.position = _index(position, self.queries, "position")
        self.row = _index(row, rows, "row")
        flat = self.row * heads + self.head
        self.lead = tuple(int(i) for i in np.unravel_index(flat, lead)) if lead else ()
        if tokens is not None and len(tokens) != self.keys:
            raise DataError(f"tokens name the {self.keys} keys, and {len(tokens)} were given")
        self.tokens = tokens
        self.name = attention.recorded.names.of

    def called(self, i: int, *, query: bool = False) -> str:
        """What a position is called: a query like the key at its place, if there are as many."""
        if self.tokens is None or (query and self.queries != self.keys):
            return f"position {i}"
        return f"‘{self.tokens[i]}’ ({i})"

    def part(self, array: np.ndarray, *behind: Any) -> np.ndarray:
        """The part of an array that belongs to this example and head, and in it an index."""
        wide = np.broadcast_to(array, (*self._lead_of(array), *array.shape[-2:]))
        return wide[(*self.lead, *behind)]

    def _lead_of(self, array: np.ndarray) -> tuple[int, ...]:
        return np.broadcast_shapes(array.shape[:-2], self.attention.scores.shape[:-2])

    def along(self, array: Any) -> np.ndarray:
        """An operand of an operation on each score, for this query: (S,)."""
        return np.broadcast_to(array, self.attention.scores.shape)[(*self.lead, self.position)]

    # Steps

    def given(self) -> tuple[Step, ...]:
        """The query, the keys and the values."""
        q, keys = self.attention.scores.saved[:2]  # type: ignore[index]
        turned = self.attention.scores.inputs[1]
        own_keys = keys
        if turned is not None and turned.op is not None and turned.op.kind != "bilinear":
            source = turned.saved[0]  # type: ignore[index]
            same = source.shape == (*keys.shape[:-2], keys.shape[-1], keys.shape[-2])
            own_keys = source if same else keys
        values = self.attention.product.saved[1]  # type: ignore[index]
        who = self.called(self.position, query=True)
        parts = [
            ("q", f"q = the query of {who}, a row of {self.name(q)}", q,
             self.part(q, self.position)),
            ("K", f"K = the keys, a row for each position, of {self.name(own_keys)}", own_keys,
             self.part(np.swapaxes(keys, -1, -2))),
            ("V", f"V = the values, a row for each position, of {self.name(values)}", values,
             self.part(values)),
        ]  # fmt: skip
        return tuple(
            Step(
                name, title, operands=(self.name(source),), rule="definition", value=value,
                claims=(Recomputed(f"elements of {self.name(source)}", value.copy(), 0.0),),
                module=self.attention.module, place=show(self.attention.result.place),
            )
            for name, title, source, value in parts
        )  # fmt: skip

    @property
    def telling(self) -> list[int]:
        """The keys that count most, first the one with the largest weight."""
        weights = self.along(self.attention.softmax.value)
        return [int(j) for j in np.argsort(-weights, kind="stable")[:SHOWN]]

    def scores(self) -> list[Step]:
        """q · k, and what was done to it."""
        node = self.attention.scores
        q, keys = node.saved[:2]  # type: ignore[index]
        step = stated(
            "r", "r = K q: how well each key fits the query", "r[j] = Σ_c q[c] · K[j, c]",
            {"q": self.part(q, self.position), "K": self.part(np.swapaxes(keys, -1, -2))},
            (self.keys,),
            value=self.along(node.value), at=[(j,) for j in self.telling], rule="dot product",
        )  # fmt: skip
        steps = [replace(step, matrix=Words("r = K q"))]
        for number, each in enumerate(self.attention.before, 1):
            steps.append(self._step(each, f"s{number}", steps[-1].name))
        return steps

    def _step(self, node: Node, name: str, before: str) -> Step:
        """An operation on each score or weight, for this query."""
        operands = node.saved[: len(node.inputs)]  # type: ignore[index]
        names = dict(zip(node.op.operand_names, operands, strict=False))
        view = {k: v for k, v in names.items() if v is not None}
        view |= {k: v for k, v in node.attrs.items() if k in node.op.formula.names}
        row = {k: self.along(v) if np.ndim(v) else v for k, v in view.items()}
        source = self._source(node)
        called = {k: before for k, v in names.items() if v is source}
        value = self.along(node.value)
        what = _what(node)
        step = stated(
            name, f"{name} = {before} after {what}", node.op.formula.plain(), row, (self.keys,),
            value=value, names=called, at=[(j,) for j in self.telling], rule=what,
            place=show(node.place),
        )  # fmt: skip
        step = replace(step, operation=node.op.name, module=self.attention.module)
        return remarked(step, *self._remarks(node, row, value))

    def _source(self, node: Node) -> Any:
        """The operand that the chain of operations came through."""
        chain = (self.attention.scores, *self.attention.before, self.attention.softmax,
                 *self.attention.after)  # fmt: skip
        place = next(i for i, n in enumerate(node.inputs) if n in chain)
        return node.saved[place]  # type: ignore[index]

    def _remarks(self, node: Node, row: dict[str, Any], value: np.ndarray) -> list[Remark]:
        scale = _scale(node)
        size = int(self.attention.scores.inputs[0].shape[-1])  # type: ignore[union-attr]
        if scale is not None and math.isclose(scale, 1 / math.sqrt(size), rel_tol=1e-6):
            source = self.along(self._source(node)).astype(np.float64)

            def ratio(y: np.ndarray) -> tuple[float, ...]:
                at = largest(source)
                return float(y[at] / source[at]), float(size)

            text = "the factor {} is 1/√{}: a query has so many numbers, and a sum of so many "
            text += "products grows like the root of their number"
            return [Remark(text, (scale, size), ratio, 1e-5)] if source.any() else []
        masked_now = np.isneginf(value) & ~np.isneginf(self.along(self._source(node)))
        return [self._masked(value)] if masked_now.any() else []

    def _masked(self, value: np.ndarray) -> Remark:
        """Which keys are masked, and why."""
        hidden = np.isneginf(value)
        every = np.isneginf(self.part(self.attention.softmax.saved[0]))  # type: ignore[index]
        later = ~np.tri(self.queries, self.keys, dtype=bool)
        later[:, self.queries :] = every[:, self.queries :]  # learnt keys are at no position
        padding = np.broadcast_to(every.all(axis=0), every.shape)
        why = "the mask says so"
        if np.array_equal(every, padding):
            why = "no query may look at them (padding)"
        elif np.array_equal(every, later):
            why = "they come later (a causal mask)"
        elif np.array_equal(every, later | padding):
            why = "they come later (a causal mask) or no query may look at them (padding)"
        gone = [quoted(self.called(int(j))) for j in np.flatnonzero(hidden)[: 2 * SHOWN]]
        more = ", …" if hidden.sum() > len(gone) else ""
        text = f"{{}} of {{}} scores are −∞, because {why}: {', '.join(gone)}{more}"
        again = lambda y: (int((y == -math.inf).sum()), y.size)  # noqa: E731
        return Remark(text, (int(hidden.sum()), self.keys), again)

    def weights(self) -> Step:
        """Softmax over the keys."""
        node = self.attention.softmax
        before = f"s{len(self.attention.before)}" if self.attention.before else "r"
        source, value = self.along(node.saved[0]), self.along(node.value)  # type: ignore[index]
        step = stated(
            "w", f"w = softmax({before}): how much of each value is taken",
            "w[j] = exp(s[j] − max_h s[h]) / (Σ_h exp(s[h] − max_h s[h]))",
            {"s": source}, (self.keys,),
            value=value, names={"s": before}, at=[(j,) for j in self.telling], rule="softmax",
            claims=(SumsTo(np.float64(1.0), None, self.keys * _eps(value)),),
        )  # fmt: skip
        step = replace(step, operation="softmax", matrix=Words(f"w = softmax({before})"))
        return remarked(step, self._ranked(value))

    def _ranked(self, value: np.ndarray) -> Remark:
        """The keys in the order of their weights."""
        order = [j for j in self.telling if value[j] > 0]
        names = [f"{quoted(self.called(j))}: {{}}" for j in order]
        rest = value.size - len(order)
        text = "from the largest on: " + ", ".join(names)
        numbers = [float(value[j]) for j in order]
        if rest:
            text += f"; the other {rest} together: {{}}"
            numbers.append(float(value.astype(np.float64).sum() - sum(numbers)))

        def again(y: np.ndarray) -> tuple[float, ...]:
            shown = tuple(float(y[j]) for j in order)
            others = [float(v) for j, v in enumerate(y) if j not in order]
            return (*shown, math.fsum(others)) if rest else shown

        return Remark(text, tuple(numbers), again)

    def dropped(self) -> list[Step]:
        """What was done to the weights: dropout; zeros where there is no key to look at."""
        steps: list[Step] = []
        before = "w"
        for each in self.attention.after:
            if each.op.name != "drop" and np.array_equal(
                self.along(each.value), self.along(self._source(each))
            ):
                continue  # it is there for queries without any key, and this one has some
            steps.append(self._step(each, f"d{len(steps) + 1}", before))
            before = steps[-1].name
        return steps

    def result(self, last: str) -> Step:
        """The weighted sum of the values, and that it is what the network went on with."""
        node = self.attention.product
        weights, values = node.saved[:2]  # type: ignore[index]
        result = self.attention.result
        value = self.part(result.value, self.position)  # type: ignore[arg-type]
        operands = {"w": self.along(weights), "V": self.part(values)}
        step = stated(
            "o", f"o = the values, weighted: a row of {self.name(result.value)}",
            "o[u] = Σ_j w[j] · V[j, u]", operands, value.shape,
            value=value, names={"w": last}, rule="weighted sum", place=show(result.place),
        )  # fmt: skip
        step = replace(
            step, operation=result.op.name, module=self.attention.module,
            matrix=Words(f"o = Vᵀ {last}"),
        )  # fmt: skip
        return remarked(step, self._shares(operands["w"], operands["V"], value))

    def _shares(self, weights: np.ndarray, values: np.ndarray, value: np.ndarray) -> Remark:
        """How much each position gives, in the direction of the result."""
        wide = value.astype(np.float64)
        length = float(np.linalg.norm(wide))
        if length == 0:
            return Remark("its norm is {}", (0.0,), lambda y: (float(np.abs(y).sum()),))
        gives = weights.astype(np.float64) * (values.astype(np.float64) @ wide) / length + 0.0
        order = [int(j) for j in np.argsort(-np.abs(gives), kind="stable")[:SHOWN] if weights[j]]
        names = ", ".join(f"{quoted(self.called(j))}: {{}}" for j in order)
        text = f"its norm is {{}}; along its direction the positions give {names}"
        numbers = (length, *(float(gives[j]) for j in order))

        def again(y: np.ndarray) -> tuple[float, ...]:
            out = [float(v) for v in y]
            norm = math.hypot(*out)
            shares = (
                math.fsum(a * float(b) for a, b in zip(out, values[j], strict=True)) for j in order
            )
            pairs = zip(order, shares, strict=True)
            return (norm, *(float(weights[j]) * share / norm for j, share in pairs))

        return Remark(text, numbers, again, 1e-9)

    def grid(self) -> Step:
        """The weights of every query, (L, S)."""
        after = self.attention.after
        # A query that may look at no key has weights of zero, which are put there behind softmax.
        node = after[0] if after and after[0].op.name == "where" else self.attention.softmax
        value = self.part(node.value)  # type: ignore[arg-type]
        broken = np.isnan(value).any(axis=-1)
        totals = np.where(broken, np.nan, value.any(axis=-1))
        step = Step(
            "W",
            f"W = the weights of head {self.head}: a row for each query, a column for each key",
            operation="softmax",
            operands=(self.name(self.attention.softmax.saved[0]),),  # type: ignore[index]
            rule="softmax of each row",
            formula=Symbols(self.attention.softmax.op.formula),
            matrix=Words("W = softmax(Q Kᵀ / √d + mask)"),
            value=value,
            claims=(
                SumsTo(totals, -1, self.keys * _eps(value)),
                Recomputed("softmax of the scores in float64", self._softmax(totals),
                           64 * self.keys * _eps(value)),
            ),
        )  # fmt: skip
        told = np.flatnonzero(~broken)[: 2 * SHOWN]
        return remarked(step, *(self._looks(value, int(i)) for i in told))

    def _softmax(self, totals: np.ndarray) -> np.ndarray:
        scores = self.part(self.attention.softmax.saved[0]).astype(np.float64)  # type: ignore[index]
        with np.errstate(all="ignore"):
            shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
            weights = shifted / shifted.sum(axis=-1, keepdims=True)
        return np.where(totals[:, None] == 0, 0.0, weights)

    def _looks(self, value: np.ndarray, i: int) -> Remark:
        order = [int(j) for j in np.argsort(-value[i], kind="stable")[:3] if value[i, j] > 0]
        names = ", ".join(f"{quoted(self.called(j))}: {{}}" for j in order)
        text = f"{quoted(self.called(i, query=True))} looks at {names or 'no key'}"

        def again(y: np.ndarray) -> tuple[float, ...]:
            return tuple(sorted(map(float, y[i]), reverse=True)[: len(order)])

        return Remark(text, tuple(float(value[i, j]) for j in order), again)


def _eps(value: np.ndarray) -> float:
    return float(np.finfo(value.dtype).eps)


def _heads_and_rows(lead: Sequence[int], x: Tensor) -> tuple[int, int]:
    """How many heads and examples the axes before (L, S) stand for.

    Of two or more the last is the heads. One alone is the examples, if the input has as many.
    """
    if len(lead) == 1:
        return (1, lead[0]) if x.ndim and x.shape[0] == lead[0] else (lead[0], 1)
    return (lead[-1], math.prod(lead[:-1])) if lead else (1, 1)


def _scale(node: Node) -> float | None:
    """The factor, where a node multiplies by a number or divides by one."""
    if node.op.name not in ("multiply", "divide"):
        return None
    numbers = [v for v in node.saved[:2] if np.ndim(v) == 0]  # type: ignore[index]
    if len(numbers) != 1:
        return None
    return float(numbers[0]) if node.op.name == "multiply" else 1 / float(numbers[0])


def _what(node: Node) -> str:
    """What an operation on each score does there."""
    if _scale(node) is not None:
        return "scaling"
    if node.op.name == "drop":
        return "dropout"
    if np.isneginf(node.value).any():  # type: ignore[arg-type]
        return "the mask"
    if node.op.name == "where":
        return "zeros for a query that may look at no key"
    return "an added term" if node.op.name == "add" else node.op.name
