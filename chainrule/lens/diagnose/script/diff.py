"""A change written into the user's script: which characters of it become which others.

What is edited is what stands there literally (`lr=1e-1`, `nn.Softmax(dim=1)` in a Sequential,
`range(10)`); where the place is not found, or is not the only one, there is no diff.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable

from chainrule.lens.diagnose.finding import Change
from chainrule.lens.diagnose.script.source import Edit, Script, last_name, only
from chainrule.lens.diagnose.setup import Setup


def diff_of(change: Change, source: str, name: str, setup: Setup | None = None) -> str:
    """A unified diff of the script, or "" where the change is not one of its text.

    Args:
        name: of the script's file.
        setup: what was trained, from which the classes of modules and the optimiser are known.

    >>> from chainrule.lens.diagnose import changes
    >>> print(diff_of(changes.set_rate(0.01), "opt = optim.SGD(p, lr=10.0)\\n", "train.py"))
    --- train.py
    +++ train.py
    @@ -1 +1 @@
    -opt = optim.SGD(p, lr=10.0)
    +opt = optim.SGD(p, lr=0.01)
    """
    try:
        script = Script(source, setup)
    except SyntaxError:
        return ""
    edits: list[Edit] = []
    for part in change.kind.split(" + "):
        kind, _, rest = part.partition(":")
        found = _EDITS[kind](script, rest) if kind in _EDITS else None
        if not found:
            return ""
        edits += found
    new = source
    for edit in sorted(edits, reverse=True):
        new = new[: edit.start] + edit.text + new[edit.end :]
    try:
        ast.parse(new)
    except SyntaxError:
        return ""
    lines = difflib.unified_diff(
        source.splitlines(), new.splitlines(), name, name, lineterm="", n=1
    )
    return "\n".join(lines)


def _keyword(script: Script, call: ast.Call | None, name: str, value: str) -> list[Edit] | None:
    """A keyword argument with another value, or a new one at the end."""
    if call is None:
        return None
    for keyword in call.keywords:
        if keyword.arg == name:
            literal = script.literal(keyword.value)
            return script.replaced(literal or keyword.value, value)
    end = script.span(call)[1] - 1
    inside = script.source[script.span(call.func)[1] + 1 : end].rstrip()
    comma = "" if not inside or inside.endswith(",") else ", "
    return [Edit(end, end, f"{comma}{name}={value}")]


def _rate(script: Script, rest: str) -> list[Edit] | None:
    call = script.optimizer()
    if call is not None and len(call.args) > 1 and not any(k.arg == "lr" for k in call.keywords):
        literal = script.literal(call.args[1])
        return script.replaced(literal or call.args[1], rest)
    return _keyword(script, call, "lr", rest)


def _options(script: Script, rest: str) -> list[Edit] | None:
    edits: list[Edit] = []
    for option in re.findall(r"(\w+)=((?:\([^)]*\)|[^,])+)", rest):
        found = _keyword(script, script.optimizer(), *option)
        if found is None:
            return None
        edits += found
    return edits


def _decay(script: Script, rest: str) -> list[Edit] | None:
    return _keyword(script, script.optimizer(), "weight_decay", rest)


def _optimizer(script: Script, rest: str) -> list[Edit] | None:
    call = script.optimizer()
    if call is None or not call.args:
        return None
    kind, _, options = rest.partition(", ")
    shown = f", {options}" if options else ""
    written = f"{script.prefix(call)}{kind}({script.text(call.args[0])}{shown})"
    return script.replaced(call, written)


_LOSSES = {
    "cross_entropy": ("CrossEntropyLoss", "cross_entropy"),
    "nll": ("NLLLoss", "nll_loss"),
    "bce": ("BCELoss", "binary_cross_entropy"),
    "bce_with_logits": ("BCEWithLogitsLoss", "binary_cross_entropy_with_logits"),
    "mse": ("MSELoss", "mse_loss"),
    "mae": ("L1Loss", "l1_loss"),
    "huber": ("HuberLoss", "huber_loss"),
}
"""`LossFacts.kind` → (class, function), in both frameworks."""


def _loss_call(script: Script) -> tuple[ast.Call, int] | None:
    """(the one call of a loss, 0 for a class and 1 for a function)."""
    for form in (0, 1):
        names = {pair[form] for pair in _LOSSES.values()}
        call = only(script.calls(names.__contains__))
        if call is not None:
            return call, form
    return None


def _loss(script: Script, rest: str) -> list[Edit] | None:
    found = _loss_call(script)
    kind, _, reduction = rest.partition(":")
    if found is None or kind not in _LOSSES:
        return None
    call, form = found
    given = [script.text(arg) for arg in call.args] if form else []
    given += [f'reduction="{reduction}"'] if reduction != "mean" else []
    return script.replaced(call, f"{script.prefix(call)}{_LOSSES[kind][form]}({', '.join(given)})")


def _mean(script: Script, rest: str) -> list[Edit] | None:
    found = _loss_call(script)
    if found is None or not any(k.arg == "reduction" for k in found[0].keywords):
        return None
    return _keyword(script, found[0], "reduction", '"mean"')


def _remove(script: Script, rest: str) -> list[Edit] | None:
    call = script.module(rest)
    if call is None:
        return None
    row = script.parents[call]
    if not isinstance(row, ast.Call):  # code refers to it by its name
        return script.replaced(call, f"{script.prefix(call)}Identity()")
    at = row.args.index(call)
    start, end = script.span(call)
    if at + 1 < len(row.args):
        return [Edit(start, script.span(row.args[at + 1])[0], "")]
    return [Edit(script.span(row.args[at - 1])[1] if at else start, end, "")]


def _replace(script: Script, rest: str) -> list[Edit] | None:
    path, _, written = rest.partition(":")
    call = script.module(path)
    if call is None:
        return None
    return script.replaced(call, written.replace("nn.", script.prefix(call), 1))


def _beside(script: Script, rest: str, after: bool) -> list[Edit] | None:
    path, _, written = rest.partition(":")
    call = script.module(path)
    if call is None or not isinstance(script.parents[call], ast.Call):
        return None
    start, end = script.span(call)
    new = written.replace("nn.", script.prefix(call), 1)
    return [Edit(end, end, f", {new}")] if after else [Edit(start, start, f"{new}, ")]


def _activation(script: Script, rest: str) -> list[Edit] | None:
    kind, _, paths = rest.partition(":")
    edits: list[Edit] = []
    for path in filter(None, paths.split(",")):
        call = script.module(path)
        if call is None:
            return None
        edits += script.replaced(call, f"{script.prefix(call)}{kind}()")
    return edits


def _named(script: Script, pattern: str, keyword: str) -> ast.expr | None:
    """The one number that is given to a name like this, or as this keyword."""
    found = [
        value for name, value in script.assignments()
        if re.fullmatch(pattern, name, re.IGNORECASE) and isinstance(value, ast.Constant)
    ]  # fmt: skip
    if not found:
        found = [
            k.value for node in ast.walk(script.tree) if isinstance(node, ast.Call)
            for k in node.keywords if k.arg == keyword and isinstance(k.value, ast.Constant)
        ]  # fmt: skip
    node: ast.expr | None = only(found)
    return node


def _batch(script: Script, rest: str) -> list[Edit] | None:
    node = _named(script, r"(train_)?(batch_?size|batch|bs)", "batch_size")
    return script.replaced(node, rest) if node is not None else None


def _longer(script: Script, rest: str) -> list[Edit] | None:
    node = _named(script, r"(n_?|num_?|max_?)?(epochs?|steps|iterations|iters)", "epochs")
    if node is None:
        loops = [
            loop.iter.args[0] for loop in ast.walk(script.tree)
            if isinstance(loop, ast.For) and isinstance(loop.iter, ast.Call)
            and last_name(loop.iter.func) == "range" and len(loop.iter.args) == 1
            and isinstance(loop.target, ast.Name) and loop.target.id in ("epoch", "step", "e", "_")
            and isinstance(loop.iter.args[0], ast.Constant)
        ]  # fmt: skip
        node = only(loops)
    if not isinstance(node, ast.Constant) or not isinstance(node.value, int):
        return None
    return script.replaced(node, str(round(node.value * float(rest))))


def _backward(script: Script) -> ast.Call | None:
    found: ast.Call | None = only(script.calls("backward".__eq__))
    return found


def _optimizer_name(script: Script) -> str | None:
    """What the script calls the optimiser that it steps."""
    call = only(
        [c for c in script.calls("step".__eq__) if isinstance(c.func, ast.Attribute)
         and not re.search("sched", script.text(c.func.value))]
    )  # fmt: skip
    return script.text(call.func.value) if call is not None else None


def _clear(script: Script, rest: str) -> list[Edit] | None:
    call, name = _backward(script), _optimizer_name(script)
    if call is None or name is None:
        return None
    return script.line_before(call, f"{name}.zero_grad()")


def _descend(script: Script, rest: str) -> list[Edit] | None:
    call = _backward(script)
    if call is not None and isinstance(call.func, ast.Attribute):
        value = call.func.value
        if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
            # The brackets around −loss are no part of the tree's node.
            start, end = script.span(call.func)[0], script.span(call.func)[1]
            inner = script.text(value.operand)
            return [Edit(start, end, f"{inner}.backward")]
    optimizer = script.optimizer()
    if optimizer is not None and any(k.arg == "maximize" for k in optimizer.keywords):
        return _keyword(script, optimizer, "maximize", "False")
    return None


def _clip(script: Script, rest: str) -> list[Edit] | None:
    name = _optimizer_name(script)
    steps = [
        c for c in script.calls("step".__eq__)
        if isinstance(c.func, ast.Attribute) and script.text(c.func.value) == name
    ]  # fmt: skip
    call, optimizer = only(steps), script.optimizer()
    if call is None or optimizer is None or not optimizer.args or script.setup is None:
        return None
    home = {"torch": "torch.nn.utils", "chainrule": "optim"}[script.setup.framework.name]
    text = f"{home}.clip_grad_norm_({script.text(optimizer.args[0])}, {rest})"
    return script.line_before(call, text)


_EDITS: dict[str, Callable[[Script, str], list[Edit] | None]] = {
    "rate": _rate,
    "options": _options,
    "decay": _decay,
    "optimizer": _optimizer,
    "loss": _loss,
    "mean-reduction": _mean,
    "remove": _remove,
    "replace": _replace,
    "after": lambda script, rest: _beside(script, rest, True),
    "before": lambda script, rest: _beside(script, rest, False),
    "activation": _activation,
    "batch": _batch,
    "longer": _longer,
    "clear-gradients": _clear,
    "descend": _descend,
    "clip": _clip,
}
"""`Change.kind`'s family → what it changes in a script."""
