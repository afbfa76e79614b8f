"""frozen-parameters: weights that will not change, though nothing says that they should not."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.passes import Pass
from chainrule.lens.diagnose.rules.rule import Rule

CONSEQUENCES = ("not-learning", "capacity-too-small", "too-few-steps", "learning-rate-too-low")
SHUFFLES = 19


class FrozenParameters(Rule):
    """A parameter moves where it asks for a gradient, and an optimiser holds it.

    Whoever fine-tunes freezes the first layers, whose weights were trained before: then the frozen
    layers are the network's beginning, or at least no random numbers: the largest singular value of
    random weights is not changed by shuffling their elements, that of trained ones falls.
    """

    name = "frozen-parameters"
    stage = "static"
    looks_at = "whether the optimiser holds every parameter, and each asks for a gradient"

    def look(self, case: Case) -> Iterable[Finding]:
        run, held = case.first, case.optimizer.held
        names = list(run.parameters)
        if not names:
            return
        forgotten = [n for n in names if n not in held and n not in run.frozen]
        frozen = [n for n in names if n in run.frozen]
        if forgotten:
            yield self._forgotten(case, forgotten)
        if frozen:
            finding = self._frozen(case, frozen)
            if finding is not None:
                yield finding

    def _forgotten(self, case: Case, names: list[str]) -> Finding:
        run, foreign = case.first, case.optimizer.foreign
        gradients = [g for n in names if (g := run.gradients.get(n)) is not None]
        size = max((float(np.abs(g).max()) for g in gradients), default=0.0)
        every = len(names) == len(run.parameters)
        return Finding(
            self.name, names[0].rpartition(".")[0] or names[0],
            f"{'none of the' if every else ''} {_some(names)} "
            f"{'is' if len(names) == 1 else 'are'} {'' if every else 'not '}in the optimiser: "
            f"{'it' if len(names) == 1 else 'they'} will not change, though gradients of up to "
            f"{size:.3g} are there".strip(),
            (
                Measured("parameters that the optimiser does not hold", len(names), "0"),
                Measured("largest gradient among them", size),
                *((Measured("parameters in the optimiser that are not the model's", foreign, "0"),)
                  if foreign else ()),
            ),
            "w ← w − η·g is done for the parameters that the optimiser was given; "
            + ("this one was given another model's (a copy, or the model before it was changed)"
               if foreign else
               "layers in a plain list, made later, or left out of its arguments are not among "
               "them"),
            "error", 0.96, (changes.hold(names),), explains=CONSEQUENCES,
        )  # fmt: skip

    def _frozen(self, case: Case, frozen: list[str]) -> Finding | None:
        run = case.first
        layers = _whole_layers(run, frozen)
        trainable = [n for n in run.parameters if n not in run.frozen]
        if not trainable:
            meant = False
        elif not layers:
            return None  # adapters, biases, one embedding's rows: parts of layers
        else:
            meant = _is_beginning(run, layers) or _trained(run, layers)
        places = layers or [frozen[0].rpartition(".")[0]]
        return Finding(
            self.name, places[0],
            f"{_some(frozen)} {'asks' if len(frozen) == 1 else 'ask'} for no gradient"
            + (": the network's first layers are frozen, as in fine-tuning" if meant else
               " and will keep the weights that they have, which look like random ones"
               if trainable else ": no parameter is left that could learn"),
            (
                Measured("frozen parameters", len(frozen), "0, or the first layers"),
                Measured("share of the network's numbers",
                         sum(run.parameters[n].size for n in frozen)
                         / sum(v.size for v in run.parameters.values())),
            ),
            "requires_grad=False leaves a parameter out of the backward pass; its layer stays a "
            "fixed "
            "random map, and what it loses no other layer can put back",
            "advice" if meant else "error" if not trainable else "warning",
            0.2 if meant else 0.9,
            (changes.unfreeze(frozen),),
            explains=() if meant else CONSEQUENCES,
        )  # fmt: skip


def _whole_layers(run: Pass, frozen: list[str]) -> list[str]:
    """Paths of the layers of which nothing can learn."""
    found = []
    names = set(frozen)
    for layer in run.layers:
        if layer.weight not in names:
            continue
        outer = layer.path.rpartition(".")[0]
        mine = [n for n in run.parameters if n.startswith(f"{layer.path}.")]
        beside = [n for n in run.parameters if outer and n.startswith(f"{outer}.") and "lora" in n]
        if all(n in names for n in mine) and not beside:
            found.append(layer.path)
    return found


def _is_beginning(run: Pass, frozen: list[str]) -> bool:
    """Whether the frozen layers are the first ones, and not all."""
    order = [layer.path for layer in run.layers]
    marks = [path in frozen for path in order]
    return not all(marks) and marks == sorted(marks, reverse=True)


def _trained(run: Pass, paths: list[str]) -> bool:
    """Whether shuffling a frozen layer's elements lowers its largest singular value clearly."""
    rng = np.random.default_rng(0)
    for layer in run.layers:
        if layer.path not in paths or layer.weight is None:
            continue
        weight = run.parameters[layer.weight]
        matrix = weight.reshape(len(weight), -1).astype(np.float64)
        if min(matrix.shape) < 4 or matrix.size > 1_000_000:
            continue
        own = float(np.linalg.norm(matrix, 2))
        flat = matrix.reshape(-1)
        shuffled = (rng.permutation(flat).reshape(matrix.shape) for _ in range(SHUFFLES))
        if own > 1.05 * max(float(np.linalg.norm(other, 2)) for other in shuffled):
            return True
    return False


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(written, names[:3])) + more
