"""The gradient of attention: the cotangents of queries, keys and values, one behind the other.

The weights are computed anew, a strip at a time; with them, from the output and its cotangent, that
strip of the scores' cotangents, and of both the parts of dq, dk and dv.
"""

from __future__ import annotations

from llvmlite import ir

from chainrule.compile.emit.attention_form import Operand
from chainrule.compile.emit.attention_forward import Kernel
from chainrule.compile.emit.frame import zeros
from chainrule.compile.emit.kernel import argument
from chainrule.compile.emit.lanes import I64
from chainrule.compile.emit.loops import at, repeat, smaller


class Gradient(Kernel):
    parts = (
        "k", "v", "strips", "cotangents", "tile", "dk", "dv", "k rows", "q rows", "g rows"
    )  # fmt: skip
    arguments = ("g", "q", "k", "v", "mask", "keep")

    @property
    def g(self) -> Operand:
        assert self.of.g is not None
        return self.of.g

    def emit(self) -> None:
        form, of, b = self.form, self.of, self.builder
        starts = self.of_head(self.task)
        flat = argument(b, self.args, len(self.operands))
        sizes = (of.queries * of.size, of.keys * of.size, of.keys * of.value_size)
        places = []
        for size in sizes:
            places.append(self.at(flat, (self.task, size)))
            flat = at(b, flat, self.element, of.heads * size)
        dq, dk, dv = places
        self.pack_columns(starts["k"], of.k, of.size, "k")
        self.pack_columns(starts["v"], of.v, of.value_size, "v")
        k = self.side_by_side(starts["k"], of.k, I64(of.keys), of.size, "k rows")
        for part in ("dk", "dv"):
            self.clear(self.scratch[part], form.elements[part])

        def block(number: ir.Value) -> None:
            first, after = (
                b.udiv(b.mul(n, I64(of.queries)), I64(form.blocks))
                for n in (number, b.add(number, I64(1)))
            )
            self.block(starts, k, dq, first, b.sub(after, first))

        repeat(b, 0, form.blocks, block)
        for part, target, size, factor in (
            ("dk", dk, of.size, of.scale), ("dv", dv, of.value_size, 1.0)
        ):  # fmt: skip
            self.write(part, I64(of.keys), size, factor, target)

    def block(
        self,
        starts: dict[str, ir.Value],
        k: tuple[ir.Value, int],
        dq: ir.Value,
        first: ir.Value,
        rows: ir.Value,
    ) -> None:
        """Some queries: their rows of the strips and of dq, then their part of dk and dv."""
        form, of, b = self.form, self.of, self.builder
        q = self.at(starts["q"], (first, of.q.row))
        g = self.at(starts["g"], (first, self.g.row))
        here = {**starts, "q": q, "g": g}
        tiles = b.udiv(b.add(rows, I64(form.rows - 1)), I64(form.rows))

        def tile(t: ir.Value) -> None:
            i = smaller(b, b.mul(t, I64(form.rows)), b.sub(rows, I64(form.rows)))
            self.tile(here, k, dq, first, i)

        repeat(b, 0, tiles, tile)
        q_rows = self.side_by_side(q, of.q, rows, of.size, "q rows")
        g_rows = self.side_by_side(g, self.g, rows, of.value_size, "g rows")
        end = b.add(self.keys_of(b.add(first, rows)), I64(form.key_rows - 1))

        def keys(t: ir.Value) -> None:
            j = b.mul(t, I64(form.key_rows))
            skipped = I64(0)
            if of.is_causal:  # the tiles of queries that look at none of these keys
                skipped = b.udiv(b.sub(self.later(j, first), first), I64(form.rows))
                skipped = b.mul(skipped, I64(form.rows))
            depth = b.sub(rows, skipped)
            for part, strip, (right, step), size in (
                ("dv", "strips", g_rows, of.value_size), ("dk", "cotangents", q_rows, of.size)
            ):  # fmt: skip
                left = self.at(self.scratch[strip], (skipped, form.strip), (j, 1))
                width = form.padded(size)
                target = self.at(self.scratch[part], (j, width))
                self.product(
                    left, (1, form.strip), (self.at(right, (skipped, step)), step), (target, width),
                    form.key_rows, size, depth, accumulate=True,
                )  # fmt: skip

        repeat(b, 0, b.udiv(end, I64(form.key_rows)), keys)

    def tile(
        self,
        starts: dict[str, ir.Value],
        k: tuple[ir.Value, int],
        dq: ir.Value,
        first: ir.Value,
        i: ir.Value,
    ) -> None:
        """A tile of queries of a block, the i-th of it and after: weights, cotangents and dq."""
        form, of, b = self.form, self.of, self.builder
        row = b.add(first, i)
        panels = self.needed(row)
        strip, cotangents = (
            self.at(self.scratch[n], (i, form.strip)) for n in ("strips", "cotangents")
        )
        q = self.at(starts["q"], (i, of.q.row))
        g = self.at(starts["g"], (i, self.g.row))

        def panel(p: ir.Value) -> None:
            self.scores(q, of.q, self.scratch["k"], of.size, strip, p)
            self.scores(g, self.g, self.scratch["v"], of.value_size, cotangents, p)

        repeat(b, 0, panels, panel)
        end = b.mul(panels, I64(form.panel))

        def change(r: ir.Value) -> None:
            weights, changes = (self.at(s, (r, form.strip)) for s in (strip, cotangents))
            self.pull(starts, weights, changes, b.add(row, r), end)
            if of.is_causal:  # what a tile of keys reads past the end
                for place in (weights, changes):
                    self.clear(self.at(place, (end, 1)), form.margin * form.panel)

        repeat(b, 0, form.rows, change)
        width = form.padded(of.size)
        tile, depth = self.scratch["tile"], self.keys_of(b.add(row, I64(form.rows)))
        self.product(cotangents, (form.strip, 1), k, (tile, width), form.rows, of.size, depth)
        self.write("tile", I64(form.rows), of.size, of.scale, self.at(dq, (row, of.size)))

    def pull(
        self,
        starts: dict[str, ir.Value],
        weights: ir.Value,
        changes: ir.Value,
        row: ir.Value,
        end: ir.Value,
    ) -> None:
        """One query: dS = P ∘ (dP − Σ P ∘ dP) in place of dP, and P as dropout leaves it."""
        b, lanes, dtype = self.builder, self.lanes, self.dtype
        factor = self.spread(1 / (1 - self.of.p))

        def kept(j: ir.Value, value: ir.Value) -> ir.Value:
            if self.of.keep is None:
                return value
            keep = self.beside("keep", starts["keep"], row, j, self.valid(row, j))
            return b.select(keep, b.fmul(value, factor), self.spread(0))

        def change(j: ir.Value) -> ir.Value:
            # Past the last key lies what a product left there, or nothing did.
            value = kept(j, lanes.load(self.at(changes, (j, 1)), dtype))
            return b.select(self.valid(row, j), value, self.spread(0))

        inverse, mean = self.softmax(starts, weights, row, end, change)

        def one(j: ir.Value) -> list[ir.Value]:
            place = self.at(weights, (j, 1))
            weight = b.fmul(lanes.load(place, dtype), inverse)
            lanes.store(kept(j, weight), place, dtype)
            lanes.store(b.fmul(weight, b.fsub(change(j), mean)), self.at(changes, (j, 1)), dtype)
            return []

        self.each(end, one, [])

    def later(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.select(self.builder.icmp_signed(">", a, b), a, b)

    def clear(self, start: ir.Value, count: int) -> None:
        zeros(self.builder, self.dtype, self.form.lanes, start, count)

    def write(self, part: str, rows: ir.Value, size: int, factor: float, target: ir.Value) -> None:
        """Rows of a part of the scratch memory, times a factor, side by side at `target`."""
        width = self.form.padded(size)

        def one(i: ir.Value) -> None:
            source, there = self.at(self.scratch[part], (i, width)), self.at(target, (i, size))
            self.write_row(source, size, self.spread(factor), there, 1)

        repeat(self.builder, 0, rows, one)
