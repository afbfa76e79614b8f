"""no-nonlinearity: layers with weights and nothing between them that bends."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.layers import TRANSPARENT, WEIGHTED
from chainrule.lens.diagnose.measure.learning import learning
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.passes import Layer, Pass
from chainrule.lens.diagnose.rules.rule import Rule
from chainrule.lens.diagnose.severity import weighed

KINDS = ("linear", "conv", "matmul")
AFFINE = TRANSPARENT | {
    "batch_norm", "batch_norm_eval", "avg_pool1d", "avg_pool2d", "avg_pool3d", "mean", "sum",
    "random_keep", "subtract", "divide", "negative", "pad", "concatenate", "concat",
}  # fmt: skip
"""What maps affinely (batch normalisation is, once its statistics are fixed)."""
WELL = 0.05


class NoNonlinearity(Rule):
    """W₂(W₁x + b₁) + b₂ = (W₂W₁)x + (W₂b₁ + b₂): two layers with nothing between are one.

    A narrow layer between (a factorisation, a linear bottleneck) is meant; wide ones are not.
    """

    name = "no-nonlinearity"
    stage = "static"
    looks_at = "whether a nonlinear operation stands between each two layers with weights"

    def look(self, case: Case) -> Iterable[Finding]:
        run = case.first
        pairs = [(a, b) for a, b in _pairs(run) if not _narrow(a, b)]
        if not pairs:
            return
        weighty = [layer for layer in run.layers if layer.kind in KINDS]
        whole = len(weighty) > 1 and not _bends(run, weighty[-1])
        first, last = pairs[0]
        fix = changes.combine(*(changes.insert_after(a.path, "ReLU") for a, _ in pairs))
        others = ", ".join(written(a.path) for a, _ in pairs[1:])
        how = learning(case)
        well = how is not None and not how.suffers and how.error < WELL
        yield Finding(
            self.name,
            first.path,
            f"nothing nonlinear stands between {written(first.path)} and {written(last.path)}"
            + (f", nor after {others}" if others else "")
            + (": the whole network is one linear map" if whole else ""),
            (
                Measured("layers with weights", len(weighty)),
                Measured("of those, followed by another with nothing between", len(pairs), "0"),
                Measured("rank of the product at most", min(first.fan_in, first.units, last.units)),
            ),
            f"W₂(W₁x + b₁) + b₂ = (W₂W₁)x + (W₂b₁ + b₂): {first.units} hidden units add nothing to "
            f"a map from {first.fan_in} to {last.units} numbers",
            ("advice" if well else "warning")
            if whole else weighed(case, bad="warning", unknown="advice"),
            0.88 if whole else 0.4,
            (fix,),
            explains=("capacity-too-small", "not-learning", "too-few-steps") if whole else (),
        )  # fmt: skip


def _pairs(run: Pass) -> list[tuple[Layer, Layer]]:
    """Layers of which the second takes the first's result through affine operations alone, and
    nothing else takes it (a residual's stem is read by the way around, too)."""
    ends = {layer.op: layer for layer in run.layers if layer.kind in KINDS}
    found = []
    for above in ends.values():
        op = run.ops[above.op]
        if int(op.attrs.get("groups", 1)) > 1:
            continue
        at = next((s for s in op.inputs if s is not None), None)
        while at is not None and at not in ends:
            inner = run.ops[at]
            sources = {s for s in inner.inputs if s is not None and not _is_mask(run, s)}
            if inner.name not in AFFINE or len(sources) != 1 or len(run.readers[at]) > 1:
                break
            at = sources.pop()
        if at not in ends or len(run.readers[at]) > 1:
            continue
        if int(run.ops[at].attrs.get("groups", 1)) == 1:
            found.append((ends[at], above))
    return found


def _is_mask(run: Pass, at: int) -> bool:
    return run.ops[at].name == "random_keep"


def _narrow(below: Layer, above: Layer) -> bool:
    return below.units < min(below.fan_in, above.units)


def _bends(run: Pass, last: Layer) -> bool:
    """Whether any operation before the last layer is not affine."""
    for i, op in run.model_ops():
        if i >= last.op:
            break
        if op.name in WEIGHTED and any(p is not None for p in op.parameters):
            if WEIGHTED[op.name] not in KINDS:
                return True
        elif op.name not in AFFINE or (
            op.name in ("multiply", "divide") and sum(s is not None for s in op.inputs) > 1
        ):
            return True
    return False
