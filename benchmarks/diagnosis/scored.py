"""The scored half of the bugs: no threshold is set on these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.diagnosis import sets
from benchmarks.diagnosis.development import scaled
from benchmarks.diagnosis.kit import Kit
from benchmarks.diagnosis.runs import Run, bug, layers, modules
from benchmarks.diagnosis.sets import Data


@bug(
    3,
    "31556268",
    {
        "learning-rate-too-low": "SGD at 0.05 for so few steps",
        "too-few-steps": "the same, said of the epochs",
    },
    "optimizer",
    {},
    {"hidden": (8,), "act": "Tanh", "lr": 0.01},
    {"name": "moons", "hidden": (16,), "lr": 0.02},
    {"name": "teacher", "hidden": (24, 24), "lr": 1e-3},
    {"torch": True, "hidden": (6,)},
    {"torch": True, "name": "moons", "hidden": (8, 8), "act": "Tanh", "lr": 5e-3},
)
def stuck(
    kit: Kit, seed: int, mended: bool, name: str = "xor", hidden: tuple[int, ...] = (4,),
    act: str = "Sigmoid", lr: float = 0.05,
) -> Run:  # fmt: skip
    data = scaled(name, seed)
    real = data.task == "real"
    data = data if real else data.column()
    model = kit.mlp(data.columns, *hidden, 1, act=act)
    loss = kit.nn.MSELoss() if real else kit.nn.BCEWithLogitsLoss()
    if mended:
        optimizer, epochs = kit.descend("SGD", model, 0.1, momentum=0.9), 120
    else:
        optimizer, epochs = kit.descend("SGD", model, lr), 30
    return Run(kit, model, data, loss, optimizer, epochs, 16)


@bug(
    7,
    "33969059",
    {
        "loss-output-mismatch": "a softmax of one unit is 1 whatever comes in",
        "output-activation": "the same, and it cannot give real targets",
    },
    "loss data",
    {},
    {"hidden": (32, 16), "kind": "Adam", "lr": 3e-3},
    {"name": "line", "hidden": (8,)},
    {"name": "diabetes", "hidden": (16,), "act": "ReLU", "lr": 0.01},
    {"torch": True, "hidden": (24,), "act": "ReLU", "kind": "Adam", "lr": 0.01},
    {"torch": True, "name": "line", "hidden": (12, 12)},
    static=True,
)
def softmax_for_regression(
    kit: Kit, seed: int, mended: bool, name: str = "teacher", hidden: tuple[int, ...] = (16,),
    act: str = "Tanh", kind: str = "SGD", lr: float = 0.1,
) -> Run:  # fmt: skip
    data = (
        sets.curve(seed, lambda x: np.sin(3 * x), -1, 1, noise=0.05)
        if name == "line" else scaled(name, seed)
    )  # fmt: skip
    model = kit.mlp(data.columns, *hidden, 1, act=act, out="" if mended else "Softmax")
    last = 2 * len(hidden)
    return Run(kit, model, data, kit.nn.MSELoss(), kit.descend(kind, model, lr), 30, 16,
               places=frozenset({str(last), str(last + 1)}))  # fmt: skip


@bug(
    11,
    "39525358",
    {
        "input-scale": "columns of 0.001 to 4,000 as they are",
        "loss-output-mismatch": "no sigmoid before binary cross-entropy",
        "output-activation": "the same, said of the output",
    },
    "loss data",
    {},
    {"hidden": (64,), "kind": "Adam", "lr": 1e-3, "form": "hand"},
    {"hidden": (16, 16), "lr": 1e-3},
    {"hidden": (24,), "act": "Tanh", "form": "hand"},
    {"torch": True, "head": "Sigmoid"},
    {"torch": True, "hidden": (16, 8), "act": "Tanh", "head": "Sigmoid"},
    static=True,
)  # fmt: skip
def raw_inputs(
    kit: Kit, seed: int, mended: bool, hidden: tuple[int, ...] = (32,), act: str = "ReLU",
    kind: str = "SGD", lr: float = 0.01, head: str = "", form: str = "",
) -> Run:  # fmt: skip
    """Where there is a sigmoid the raw inputs are the only fault; both libraries' losses refuse
    what is no probability, and a loss written by hand does not: it gives NaN at a sigmoid that
    rounds to 0 or 1 as well, so the twin has the library's."""
    data = sets.table("breast_cancer", seed).column()
    if mended:
        data = data.standardised()
        kind, lr = "Adam", 3e-3
    model = kit.mlp(data.columns, *hidden, 1, act=act, out="Sigmoid" if mended else head)
    last = 2 * len(hidden)
    loss = by_hand(kit) if form == "hand" and not mended else kit.nn.BCELoss()
    return Run(kit, model, data, loss, kit.descend(kind, model, lr), 30, 32,
               places=frozenset({"0", "0.weight", str(last), str(last + 1)}))  # fmt: skip


def by_hand(kit: Kit) -> Callable[[Any, Any], Any]:
    """Binary cross-entropy as people write it."""

    def loss(p: Any, y: Any) -> Any:
        return -(y * kit.array.log(p) + (1 - y) * kit.array.log(1 - p)).mean()

    return loss


@bug(
    15,
    "59325381",
    {
        "target-encoding": "the labels were divided by 255",
        "target-scale": "the same, said of the scale",
        "unused-classes": "as whole numbers all labels have become 0",
        "input-scale": "the inputs, which were to be scaled, were not",
    },
    "data loss",
    {},
    {"form": "whole", "hidden": 32},
    {"form": "one-hot", "name": "wine", "hidden": 16},
    {"form": "column", "hidden": 32},
    {"torch": True, "form": "one-hot", "hidden": 64},
    {"torch": True, "form": "whole", "name": "wine", "hidden": 24},
)
def scaled_labels(
    kit: Kit, seed: int, mended: bool, name: str = "digits", hidden: int = 48, form: str = "one-hot"
) -> Run:
    """`form`: labels cast to whole numbers, one-hot rows, or a column for squared error."""
    data = sets.table(name, seed)
    truth, classes = data.y_held, data.classes
    data = data.mapped(x=lambda x: 16 * x) if name == "digits" else data
    loss, outputs = kit.nn.CrossEntropyLoss(), classes
    if mended:
        data = data.standardised()
    elif form == "whole":
        data = data.mapped(y=lambda y: (y / 255).astype(np.int64))
    elif form == "one-hot":
        data = data.one_hot().mapped(y=lambda y: y / np.float32(255))
    else:
        data = data.column().mapped(y=lambda y: y / np.float32(255))
        loss, outputs = kit.nn.MSELoss(), 1
    model = kit.mlp(data.columns, hidden, outputs)
    return Run(kit, model, data, loss, kit.descend("SGD", model, 0.05), 25, 32, truth,
               places=frozenset({"2", "2.weight", "2.bias", "0"}))  # fmt: skip


@bug(
    19,
    "34673164",
    {
        "loss-output-mismatch": "a softmax of one unit is 1 whatever comes in",
        "output-activation": "the same, said of the activation",
    },
    "loss",
    {},
    {"hidden": (64, 32, 16, 8), "kind": "SGD", "lr": 0.05},
    {"name": "moons", "hidden": (16, 16, 16)},
    {"name": "blobs2", "hidden": (24, 24), "act": "Tanh"},
    {"torch": True, "hidden": (32, 16, 8)},
    {"torch": True, "name": "moons", "hidden": (24, 12), "act": "Tanh"},
    static=True,
)
def deep_one_unit_softmax(
    kit: Kit, seed: int, mended: bool, name: str = "breast_cancer",
    hidden: tuple[int, ...] = (32, 32, 32), act: str = "ReLU", kind: str = "Adam",
    lr: float = 5e-3,
) -> Run:  # fmt: skip
    data = scaled(name, seed).column()
    model = kit.mlp(
        data.columns, *hidden, 1, act=act, out="Sigmoid" if mended else "Softmax",
        norm="BatchNorm1d" if mended else "",
    )  # fmt: skip
    loss = kit.nn.BCELoss() if mended else kit.nn.MSELoss()
    last = 2 * len(hidden)
    return Run(kit, model, data, loss, kit.descend(kind, model, lr), 25, 32,
               places=frozenset({str(last), str(last + 1)}))  # fmt: skip


@bug(
    23,
    "44066044",
    {
        "output-activation": "a ReLU head before binary cross-entropy",
        "loss-output-mismatch": "the same: its outputs are no probabilities",
        "input-scale": "the inputs are raw, its second fault",
    },
    "loss data",
    {},
    {"hidden": (24,), "kind": "SGD", "lr": 0.05},
    {"name": "breast_cancer", "hidden": (16, 8), "raw": False},
    {"name": "moons", "hidden": (16,), "raw": False, "loss": "hand"},
    {"hidden": (12, 12), "act": "Tanh", "loss": "hand"},
    {"torch": True, "loss": "BCEWithLogitsLoss", "truth": ("dead-units",), "hidden": (16, 16)},
    static=True,
)
def relu_before_bce(
    kit: Kit, seed: int, mended: bool, name: str = "eleven", hidden: tuple[int, ...] = (12, 12),
    act: str = "ReLU", kind: str = "Adam", lr: float = 3e-3, raw: bool = True,
    loss: str = "BCELoss",
) -> Run:  # fmt: skip
    """torch refuses a probability above 1, so that there the loss is the one on logits."""
    if name == "eleven":
        data = sets.blobs(seed, classes=2, dims=11, spread=1.2)
        if raw and not mended:
            factor = 10.0 ** np.random.default_rng(seed).uniform(-1, 3, 11)
            data = data.mapped(x=lambda x: (x * factor).astype(np.float32))
    else:
        data = scaled(name, seed)
    data = data.column()
    model = kit.mlp(data.columns, *hidden, 1, act=act, out="Sigmoid" if mended else "ReLU")
    last = 2 * len(hidden)
    made = (
        kit.nn.BCELoss() if mended
        else by_hand(kit) if loss == "hand"
        else getattr(kit.nn, loss)()
    )  # fmt: skip
    return Run(kit, model, data, made, kit.descend(kind, model, lr), 30, 16,
               places=frozenset({"0", "0.weight", str(last), str(last + 1)}))  # fmt: skip


@bug(
    27,
    "31627380",
    {
        "loss-output-mismatch": "categorical cross-entropy of one unit is 0 whatever comes in",
        "output-activation": "a softmax of one unit is 1 whatever comes in",
        "target-encoding": "one column of 0 and 1 where a column for each class is meant",
    },
    "loss data",
    {},
    {"hidden": (64, 32), "kind": "SGD", "lr": 0.1},
    {"name": "moons", "hidden": (16,)},
    {"name": "xor", "hidden": (8, 8), "softmax": False},
    {"torch": True, "hidden": (32,)},
    {"torch": True, "name": "moons", "hidden": (24,), "softmax": False},
    static=True,
)
def one_unit_categorical(
    kit: Kit, seed: int, mended: bool, name: str = "breast_cancer",
    hidden: tuple[int, ...] = (16,), kind: str = "Adam", lr: float = 0.01, softmax: bool = True,
) -> Run:  # fmt: skip
    data = scaled(name, seed).column()
    head = "Sigmoid" if mended else "Softmax" if softmax else ""
    model = kit.mlp(data.columns, *hidden, 1, out=head)
    loss = kit.nn.BCELoss() if mended else kit.nn.CrossEntropyLoss()
    last = 2 * len(hidden)
    return Run(kit, model, data, loss, kit.descend(kind, model, lr), 25, 32,
               places=frozenset({str(last), str(last + 1)}))  # fmt: skip


@bug(
    31,
    "58237726",
    {
        "learning-rate-too-high": "the rate at which it is unstable",
        "batch-size": "every row stands twice in a batch twice as large",
        "optimizer-setting": "a rate that cannot be meant",
        "duplicates": "every row stands twice",
    },
    "optimizer data",
    {},
    {"classes": 6, "dims": 8, "hidden": (32, 32), "lr": 10.0},
    {"classes": 5, "hidden": (48, 24), "lr": 2.0, "momentum": 0.95},
    {"classes": 6, "dims": 8, "hidden": (32, 32), "lr": 3.0, "momentum": 0.9},
    {"torch": True, "hidden": (32, 32)},
    {"torch": True, "classes": 6, "dims": 8, "hidden": (48, 32), "lr": 3.0, "momentum": 0.9},
)
def doubled_batch(
    kit: Kit, seed: int, mended: bool, classes: int = 5, dims: int = 6,
    hidden: tuple[int, ...] = (32, 32), kind: str = "SGD", lr: float = 8.0, momentum: float = 0.0,
) -> Run:  # fmt: skip
    data = sets.blobs(seed, classes, dims, spread=0.7)
    if not mended:
        data = replace(data, x=np.repeat(data.x, 2, 0), y=np.repeat(data.y, 2, 0))
    model = kit.mlp(dims, *hidden, classes)
    options = {"momentum": momentum} if momentum else {}
    rate = {"SGD": 0.05, "Adam": 3e-3}[kind] if mended else lr
    optimizer = kit.descend(kind, model, rate, **options)
    return Run(kit, model, data, kit.nn.CrossEntropyLoss(), optimizer, 30, 32 if mended else 64,
               places=layers(model))  # fmt: skip


@bug(
    35,
    "42514960",
    {
        "output-activation": "a sigmoid cannot give the negative half of standardised inputs",
        "loss-output-mismatch": "the same, said of loss and output",
    },
    "loss data",
    {},
    {"name": "breast_cancer", "code": 8},
    {"name": "wine", "code": 6, "loss": "L1Loss"},
    {"name": "digits", "code": 16, "wide": 48, "head": "ReLU"},
    {"torch": True, "code": 16, "wide": 32},
    {"torch": True, "name": "breast_cancer", "code": 8, "head": "ReLU"},
    static=True,
)
def autoencoder(
    kit: Kit, seed: int, mended: bool, name: str = "digits", code: int = 12, wide: int = 32,
    loss: str = "MSELoss", head: str = "Sigmoid",
) -> Run:  # fmt: skip
    data = sets.table(name, seed).standardised()
    x, x_held = np.clip(data.x, -4, 4), np.clip(data.x_held, -4, 4)
    data = Data(x, x, x_held, x_held, "real")
    model = kit.mlp(data.columns, wide, code, wide, data.columns, act="Tanh" if mended else "ReLU",
                    out="" if mended else head)  # fmt: skip
    return Run(kit, model, data, getattr(kit.nn, loss)(), kit.descend("Adam", model, 5e-3), 30, 32,
               places=frozenset({"6", "7"}))  # fmt: skip


@bug(
    39,
    "51181393",
    {
        "learning-rate-too-low": "RMSprop moves a weight by about its rate, 1e-3, in a step",
        "too-few-steps": "the same, said of the epochs",
        "target-scale": "targets of hundreds are what makes it too low; scaling them mends it too",
    },
    "optimizer data",
    {},
    {"hidden": (), "size": 300.0},
    {"hidden": (16,), "act": "Tanh", "size": 50.0, "kind": "Adam"},
    {"name": "diabetes", "hidden": (32,)},
    {"torch": True, "hidden": (32,), "size": 200.0},
    {"torch": True, "hidden": (), "size": 100.0, "kind": "Adam"},
)
def default_rate(
    kit: Kit, seed: int, mended: bool, name: str = "teacher", hidden: tuple[int, ...] = (24,),
    act: str = "ReLU", size: float = 100.0, kind: str = "RMSprop",
) -> Run:  # fmt: skip
    if name == "diabetes":
        data = sets.table(name, seed).standardised()
    else:
        data = sets.teacher(seed).mapped(y=lambda y: size * y + 2 * size)
    model = kit.mlp(data.columns, *hidden, 1, act=act)
    rate = 0.5 if not hidden else 0.1 if name == "teacher" else 0.02
    optimizer = kit.descend(kind, model, rate if mended else 1e-3)
    return Run(kit, model, data, kit.nn.MSELoss(), optimizer, 60 if hidden else 150, 32)


@bug(
    43,
    "T:redundant_softmax",
    {
        "double-softmax": "probabilities are handed to a loss that applies softmax itself",
        "loss-output-mismatch": "the same, said of loss and output",
    },
    "loss",
    {},
    {"hidden": (32, 32), "kind": "SGD", "lr": 0.2, "epochs": 8},
    {"hidden": (48, 24), "kind": "SGD", "lr": 0.3, "epochs": 7},
    {"hidden": (48,), "functional": True, "epochs": 3},
    {"torch": True, "hidden": (64, 32), "kind": "SGD", "lr": 0.2, "epochs": 8},
    {"torch": True, "hidden": (32,), "functional": True, "epochs": 3},
    static=True,
)
def softmax_twice(
    kit: Kit, seed: int, mended: bool, name: str = "digits", hidden: tuple[int, ...] = (32,),
    kind: str = "Adam", lr: float = 3e-3, epochs: int = 3, functional: bool = False,
) -> Run:  # fmt: skip
    data = scaled(name, seed)
    model = kit.mlp(data.columns, *hidden, data.classes,
                    out="" if mended or functional else "Softmax")  # fmt: skip
    places = modules(model, "Softmax") | {str(2 * len(hidden))}
    if functional and not mended:
        body, softmax = model, kit.layer("Softmax")
        model = kit.through(lambda self, x: self.last(self.body(x)), body=body, last=softmax)
        places = frozenset({"last", "", "output", "body", f"body.{2 * len(hidden)}"})
    optimizer = kit.descend(kind, model, lr)
    return Run(kit, model, data, kit.nn.CrossEntropyLoss(), optimizer, epochs, 32, places=places)


@bug(
    47,
    "T:over_reg",
    {
        "over-regularised": "the penalty's gradient is far larger than the data's",
        "optimizer-setting": "a weight decay that cannot be meant",
    },
    "optimizer",
    {},
    {"hidden": (64, 32), "kind": "Adam", "lr": 3e-3, "decay": 0.1},
    {"name": "breast_cancer", "hidden": (32, 16), "decay": 0.3},
    {"name": "teacher", "hidden": (32,), "decay": 1.0, "lr": 0.05},
    {"torch": True, "hidden": (48, 48)},
    {"torch": True, "name": "teacher", "hidden": (24,), "kind": "Adam", "lr": 0.01, "decay": 1.0},
)
def over_regularised(
    kit: Kit, seed: int, mended: bool, name: str = "digits", hidden: tuple[int, ...] = (32, 32),
    kind: str = "SGD", lr: float = 0.1, decay: float = 0.1,
) -> Run:  # fmt: skip
    data = scaled(name, seed)
    real = data.task == "real"
    model = kit.mlp(data.columns, *hidden, 1 if real else data.classes)
    loss = kit.nn.MSELoss() if real else kit.nn.CrossEntropyLoss()
    optimizer = kit.descend(kind, model, lr, weight_decay=1e-5 if mended else decay)
    return Run(kit, model, data, loss, optimizer, 25, 32, places=layers(model))


@bug(
    51,
    "T:wrong_activation",
    {"hidden-softmax": "a softmax between layers: its slopes are below ¼ and its outputs sum to 1"},
    "",
    {},
    {"hidden": (64, 32, 32), "lr": 3e-3},
    {"name": "wine", "hidden": (24, 24), "lr": 5e-3},
    {"name": "blobs4", "hidden": (32, 32), "lr": 3e-3},
    {"torch": True, "hidden": (48, 48), "lr": 3e-3},
    {"torch": True, "name": "blobs4", "hidden": (16, 16, 16), "lr": 3e-3},
    static=True,
)
def softmax_inside(
    kit: Kit, seed: int, mended: bool, name: str = "digits", hidden: tuple[int, ...] = (32, 32),
    lr: float = 3e-3,
) -> Run:  # fmt: skip
    data = scaled(name, seed)
    model = kit.mlp(data.columns, *hidden, data.classes, act="ReLU" if mended else "Softmax")
    return Run(kit, model, data, kit.nn.CrossEntropyLoss(), kit.descend("Adam", model, lr), 10, 32,
               places=modules(model, "Softmax"))  # fmt: skip


@bug(
    55,
    "own: label noise",
    {"label-noise": "a fifth of the labels was changed to another class"},
    "data loss",
    {},
    {"name": "breast_cancer", "hidden": (64, 64)},
    {"name": "blobs4", "hidden": (128, 128), "share": 0.3},
    {"hidden": (64, 64), "share": 0.3},
    {"torch": True, "hidden": (96,)},
    {"torch": True, "name": "blobs4", "hidden": (128, 64), "share": 0.3},
)
def noisy_labels(
    kit: Kit, seed: int, mended: bool, name: str = "digits", hidden: tuple[int, ...] = (128,),
    share: float = 0.2,
) -> Run:  # fmt: skip
    data = sets.blobs(seed, 4, 12, 0.7) if name == "blobs4" else scaled(name, seed)
    truth = data.y_held
    if not mended:
        rng = np.random.default_rng(seed)

        def flip(y: np.ndarray) -> np.ndarray:
            shift = rng.integers(1, data.classes, len(y)) * (rng.random(len(y)) < share)
            return (y + shift) % data.classes

        data = data.mapped(y=flip)
    model = kit.mlp(data.columns, *hidden, data.classes)
    optimizer = kit.descend("Adam", model, 5e-3)
    return Run(kit, model, data, kit.nn.CrossEntropyLoss(), optimizer, 40, 32, truth)


@bug(
    59,
    "own: wrong sign",
    {"wrong-sign": "every step goes up the loss"},
    "optimizer loss",
    {},
    {"name": "wine", "hidden": (16,), "kind": "Adam", "lr": 3e-3},
    {"name": "teacher", "hidden": (32,), "lr": 0.01},
    {"name": "moons", "hidden": (16, 16), "how": "maximize"},
    {"torch": True, "kind": "Adam", "lr": 1e-3},
    {"torch": True, "name": "breast_cancer", "hidden": (16,), "how": "maximize"},
)
def upwards(
    kit: Kit, seed: int, mended: bool, name: str = "digits", hidden: tuple[int, ...] = (32,),
    kind: str = "SGD", lr: float = 0.05, how: str = "sign",
) -> Run:  # fmt: skip
    data = scaled(name, seed)
    real = data.task == "real"
    model = kit.mlp(data.columns, *hidden, 1 if real else data.classes)
    loss = kit.nn.MSELoss() if real else kit.nn.CrossEntropyLoss()
    options = {"maximize": True} if how == "maximize" and not mended else {}
    return Run(kit, model, data, loss, kit.descend(kind, model, lr, **options), 25, 32,
               loop={} if mended or how == "maximize" else {"sign": -1.0})  # fmt: skip
