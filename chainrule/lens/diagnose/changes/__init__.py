"""Remedies as programs: each function gives a `Change`, which takes a setup to a changed one.

A change never touches the setup that it is given. What cannot be made by a program (a function
called inside the user's own `forward`) raises `Inapplicable` when it is applied. Paths are those of
the model before any change; a setup remembers where its modules have moved to.
"""

from __future__ import annotations

from chainrule.lens.diagnose.changes.combining import combine
from chainrule.lens.diagnose.changes.data import (
    balance_classes,
    drop_rows,
    encode_targets,
    remove_column,
    reshape_targets,
    scale_inputs,
    standardise_inputs,
    standardise_targets,
)
from chainrule.lens.diagnose.changes.editing import Inapplicable
from chainrule.lens.diagnose.changes.losses import fit_head, mean_reduction, use_loss
from chainrule.lens.diagnose.changes.modules import (
    add_dropout,
    insert_after,
    insert_before,
    narrow,
    reinitialise,
    remove_module,
    replace_module,
    use_activation,
    widen,
)
from chainrule.lens.diagnose.changes.optimiser import (
    clear_gradients,
    clip_gradients,
    descend,
    hold,
    set_batch_size,
    set_decay,
    set_options,
    set_rate,
    stop_early,
    train_longer,
    unfreeze,
    use_optimizer,
)

__all__ = [
    "Inapplicable",
    "add_dropout",
    "balance_classes",
    "clear_gradients",
    "clip_gradients",
    "combine",
    "descend",
    "drop_rows",
    "encode_targets",
    "fit_head",
    "hold",
    "insert_after",
    "insert_before",
    "mean_reduction",
    "narrow",
    "reinitialise",
    "remove_column",
    "remove_module",
    "replace_module",
    "reshape_targets",
    "scale_inputs",
    "set_batch_size",
    "set_decay",
    "set_options",
    "set_rate",
    "standardise_inputs",
    "standardise_targets",
    "stop_early",
    "train_longer",
    "unfreeze",
    "use_activation",
    "use_loss",
    "use_optimizer",
    "widen",
]
