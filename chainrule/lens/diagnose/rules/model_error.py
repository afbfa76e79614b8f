"""model-error: the model or the loss does not run on these data."""

from __future__ import annotations

import traceback
from collections.abc import Iterable

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Change, Finding, Measured
from chainrule.lens.diagnose.passes import Pass
from chainrule.lens.diagnose.rules.rule import Rule


class ModelError(Rule):
    """What was raised, in which part, and what usually causes it. Where another rule knows the
    cause (targets in another form, shapes), its finding explains this one."""

    name = "model-error"
    stage = "static"
    looks_at = "whether model and loss run on the data"

    def look(self, case: Case) -> Iterable[Finding]:
        run = case.first
        error = run.error
        step = None
        if error is None and case.trace is not None:
            for event in case.trace.events:
                if event.kind == "error" and isinstance(event.facts.get("error"), Exception):
                    error, step = event.facts["error"], event.step
                    break
        if error is None:
            return
        in_loss = step is None and _model_runs(case)
        last = run.ops[-1] if run.ops and not in_loss else None
        inner = _raised_in(case, error) or (last.path if last is not None else "")
        where = "loss" if in_loss else inner or "model"
        message = " ".join(str(error).split())[:400]
        part = "the loss" if in_loss else "training" if step is not None else "the model"
        yield Finding(
            self.name,
            where,
            f"{part} does not run{f' at step {step}' if step is not None else ''}: "
            f"{type(error).__name__}: {message}",
            (
                Measured("shape of the inputs", str(run.x.shape)),
                *((Measured("shape of the outputs", str(run.outputs.shape)),)
                  if run.outputs is not None else ()),
                *((Measured("targets", f"{run.y.dtype} {run.y.shape}"),)
                  if run.y is not None else ()),
            ),
            _usual(run, in_loss),
            "error",
            0.9,
            _remedies(case, in_loss),
        )  # fmt: skip


def _raised_in(case: Case, error: BaseException) -> str:
    """The path of the innermost module that was running, by the traceback's frames."""
    paths = {id(module): path for path, _, module in case.framework.modules(case.setup.model)}
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    running = [paths.get(id(frame.f_locals.get("self")), "") for frame in frames]
    return next((path for path in reversed(running) if path), "")


def _model_runs(case: Case) -> bool:
    """Whether the model alone runs, so that it is the loss that fails."""
    run = case.first
    if run.outputs is not None:
        return True
    alone = case.framework.observe(case.setup.model, run.x, None, None)
    return alone.error is None


def _usual(run: Pass, in_loss: bool) -> str:
    if in_loss:
        return (
            "a loss takes outputs and targets of forms that belong together: class numbers (n,) "
            "with "
            "logits (n, C), or numbers of the outputs' own shape; the model gives one array of them"
        )
    if run.x.dtype.kind not in "f":
        return (
            f"the inputs are {run.x.dtype}, and layers with weights take floating-point numbers: "
            "write x.astype(np.float32)"
        )
    return (
        "a layer's width is not that of what comes in, images are not in the layout (n, channels, "
        f"height, width), or rows are not of the form that the model takes; these are {run.x.shape}"
    )


def _remedies(case: Case, in_loss: bool) -> tuple[Change, ...]:
    if in_loss:
        return (changes.fit_head(case.setup),) if case.first.outputs is not None else ()
    return (changes.standardise_inputs(),) if case.first.x.dtype.kind in "biu" else ()
