"""unreached-parameters: parameters that no derivative of the loss reaches."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.passes import Pass
from chainrule.lens.diagnose.rules.rule import Rule


class UnreachedParameters(Rule):
    """A parameter learns by ∂L/∂w. Where the forward pass does not use it, or an operation without
    a derivative (argmax, rounding, detach, a conversion to NumPy) stands between, there is none."""

    name = "unreached-parameters"
    stage = "static"
    looks_at = "whether the loss's derivative reaches every parameter"

    def look(self, case: Case) -> Iterable[Finding]:
        run = case.first
        if run.error is not None or not run.ops or (np.isnan(run.loss) and not run.gradients):
            return
        if len(run.unregistered) > case.optimizer.foreign:
            yield self._unregistered(run)
        wanted = [n for n in run.parameters if n not in run.frozen]
        missing = [n for n in wanted if run.gradients.get(n) is None]
        if not missing:
            return
        if len(missing) == len(wanted):
            yield self._nothing(run, missing)
            return
        cut = [n for n in missing if _matters(case, n)]
        unused = [n for n in missing if n not in cut]
        if cut:
            yield self._cut(run, cut)
        if unused:
            yield self._unused(run, unused)

    def _unregistered(self, run: Pass) -> Finding:
        count, where = len(run.unregistered), run.unregistered[0] or "model"
        return Finding(
            self.name, where,
            f"the model uses {count} parameters that it does not know of, first at {where}: no "
            "optimiser holds them",
            (Measured("parameters used and not known", count, "0"),),
            "model.parameters() finds what is an attribute of a module; layers in a plain list or "
            "dictionary are not found, and keep their first values; in nn.ModuleList they are",
            "error", 0.97,
            explains=("not-learning", "frozen-parameters", "capacity-too-small", "too-few-steps",
                      "learning-rate-too-low"),
        )  # fmt: skip

    def _nothing(self, run: Pass, missing: list[str]) -> Finding:
        at = _last_without_derivative(run)
        what = "the loss"
        if at is not None:
            op = run.ops[at]
            what = op.name + (f" in {written(op.path)}" if op.path else "")
        return Finding(
            self.name, "loss" if at is None else run.place(at),
            f"no derivative of the loss reaches any of the {len(missing)} parameters: {what} lets "
            "none through",
            (Measured("parameters with a gradient", 0, str(len(missing))),),
            "argmax, rounding, comparisons and conversions to whole numbers or NumPy are constant "
            "almost everywhere: their derivative is 0 or does not exist",
            "error", 0.97,
            explains=("not-learning", "frozen-parameters", "vanishing-gradients"),
        )  # fmt: skip

    def _cut(self, run: Pass, names: list[str]) -> Finding:
        return Finding(
            self.name, names[0].rpartition(".")[0] or names[0],
            f"{_some(names)} {'is' if len(names) == 1 else 'are'} used in the forward pass, and no "
            "derivative comes back: the way is cut (detach, no_grad, argmax, NumPy)",
            (Measured("parameters used without a gradient", len(names), "0"),),
            "the chain rule multiplies along the way from the loss to the parameter; one step "
            "without a derivative ends it",
            "error", 0.95,
            explains=("not-learning", "frozen-parameters", "vanishing-gradients"),
        )  # fmt: skip

    def _unused(self, run: Pass, names: list[str]) -> Finding:
        share = sum(run.parameters[n].size for n in names) / max(
            sum(v.size for v in run.parameters.values()), 1
        )
        return Finding(
            self.name, names[0].rpartition(".")[0] or names[0],
            f"{_some(names)} {'takes' if len(names) == 1 else 'take'} no part in the forward pass",
            (Measured("share of the network's numbers", share, "0"),),
            "∂L/∂w = 0 for a parameter that the output does not depend on; a layer that was made "
            "and not called is the usual cause",
            "warning", 0.8,
        )  # fmt: skip


def _matters(case: Case, name: str) -> bool:
    """Whether the outputs change with the parameter."""
    run, framework = case.first, case.framework
    if run.outputs is None:  # several outputs
        return any(name in op.parameters for op in run.ops)
    (model,) = framework.copy(case.setup.model)
    before = framework.outputs(model, run.x)
    framework.load(model, {name: 2 * run.parameters[name] + 1})
    return not np.array_equal(before, framework.outputs(model, run.x), equal_nan=True)


def _last_without_derivative(run: Pass) -> int | None:
    """The first operation after the last one that depends on a parameter and could be derived."""
    depends: list[bool] = []
    for op in run.ops:
        depends.append(
            any(p is not None for p in op.parameters)
            or any(s is not None and depends[s] for s in op.inputs)
        )
    for at, (op, hit) in enumerate(zip(run.ops, depends, strict=True)):
        if hit and op.value.dtype.kind != "f":
            return at
    for at, (op, hit) in enumerate(zip(run.ops, depends, strict=True)):
        if hit and op.name in ("floor", "ceil", "round", "trunc", "sign", "detach", "argmax"):
            return at
    return None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(written, names[:3])) + more
