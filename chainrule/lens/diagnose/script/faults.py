"""What goes wrong in a script itself, as findings."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.lens.diagnose.finding import Finding, Measured

if TYPE_CHECKING:
    from chainrule.lens.diagnose.script.watching import Watching
    from chainrule.lens.diagnose.watch import Watch

_SHAPES = re.compile(
    r"shapes? cannot be multiplied|must match the (existing )?size|size mismatch|"
    r"input and target (size|shape)|target size|batch_size .* to match target|broadcast|"
    r"inner sizes differ|the input's last size|expected input.*channels|dimension out of range",
    re.IGNORECASE,
)
"""How PyTorch, NumPy and chainrule say that shapes do not fit."""


def crashed(error: BaseException, script: Path, watching: Watching) -> Finding:
    """A script that raised: the innermost line of the user's own, and the message."""
    module = _module(error, watching)
    text = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {text[0] if text else ''}".rstrip(": ")
    if isinstance(error, SystemExit):
        said = f"it ended itself with status {error.code}"
    place, line = _own_line(error, script)
    rule, cause = _kind(error, script)
    inside = f" in module {module}" if module else ""
    evidence = [Measured("line", line)] if line else []
    return Finding(
        rule, place, f"the script stopped at {place}{inside}: {said}", evidence, cause, "error",
        0.95, explains=("no-training",),
    )  # fmt: skip


def _kind(error: BaseException, script: Path) -> tuple[str, str]:
    """(the rule's name, why)."""
    text = str(error)
    if "empty parameter list" in text:
        return "unreached-parameters", (
            "the optimiser was given no parameter: a module finds only what is an attribute of it; "
            "layers in a plain list or dictionary are not found, in nn.ModuleList they are"
        )
    if isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text:
        return "script-error", "more memory was asked for than there is; take smaller batches"
    if _SHAPES.search(text):
        return "broadcast-accident", (
            "the shapes of what is combined do not fit: sizes have to be equal, or one of them 1"
        )
    if isinstance(error, SyntaxError):
        return "script-error", "the script is no Python that can be run"
    return "script-error", "the script's own exception, which nothing caught"


def _module(error: BaseException, watching: Watching) -> str:
    """The path of the innermost module that was running."""
    paths = {
        id(module): path
        for watch in watching.watches
        for path, _, module in watch.framework.modules(watch.model)
    }
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        found = paths.get(id(frame.f_locals.get("self")), found)
    return found


def _own_line(error: BaseException, script: Path) -> tuple[str, str]:
    """("train.py:31", the line's text): of the innermost frame in the script's folder."""
    if isinstance(error, SyntaxError) and error.filename == str(script):
        return f"{script.name}:{error.lineno}", (error.text or "").strip()
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).parent == script.parent and "site-packages" not in frame.filename
    ]
    if not own:
        return script.name, ""
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}", (own[-1].line or "").strip()


def not_trained(watching: Watching, script: Path, error: BaseException | None) -> Finding:
    """A script that came to its end, or was stopped, and trained nothing."""
    if not watching.called:
        why = "no model was called"
    elif not watching.watches:
        why = "its models were only called where no gradients are recorded"
    else:
        why = "a model was called, and there was no backward pass through it"
    when = "ended" if error is None else "was stopped"
    evidence = [
        Measured("models called to learn from", len(watching.watches), "1 or more"),
        Measured("optimisers made", watching.optimizers, "1 or more"),
    ]
    return Finding(
        "no-training", script.name, f"{script.name} {when} and trained nothing: {why}", evidence,
        "parameters change in the optimiser's step, by the gradients of a backward pass; where the "
        "training is a function, it may not have been called", "error", 0.95,
    )  # fmt: skip


def stopped(watch: Watch, script: Path, over: bool) -> Finding:
    """A script whose time was over: what is said is said of its beginning."""
    why = "its time was over" if over else "it was interrupted"
    return Finding(
        "script-stopped", script.name,
        f"{script.name} was stopped after {watch.step} steps, since {why}; what is said here is "
        "said of these", [Measured("steps seen", watch.step)],
        "a longer run may learn more, and may fail later", "advice", 0.1,
    )  # fmt: skip
