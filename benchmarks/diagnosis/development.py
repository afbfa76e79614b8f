"""The development half of the bugs: thresholds may be set on these."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.diagnosis import sets
from benchmarks.diagnosis.kit import Kit
from benchmarks.diagnosis.runs import Run, bug, layers, modules
from benchmarks.diagnosis.sets import Data


def scaled(name: str, seed: int) -> Data:
    """A table or a generated set, inputs (and real targets) on the usual scale."""
    made = {
        "xor": lambda: sets.xor(seed),
        "moons": lambda: sets.moons(seed),
        "blobs": lambda: sets.blobs(seed),
        "blobs2": lambda: sets.blobs(seed, classes=2, dims=6),
        "blobs4": lambda: sets.blobs(seed, classes=4, dims=6),
        "teacher": lambda: sets.teacher(seed),
    }
    if name in made:
        return made[name]()
    data = sets.table(name, seed)
    return data if name == "digits" else data.standardised(y=data.task == "real")


@bug(
    1,
    "48385830",
    {
        "learning-rate-too-high": "SGD at 3 is one of its three faults",
        "optimizer-setting": "the same, seen from the setting",
        "loss-output-mismatch": "mean squares of unbounded outputs against one-hot labels",
        "no-nonlinearity": "two linear layers with nothing between",
        "bad-initialisation": "N(0, 1) weights, 8 times too large for 64 inputs",
    },
    "optimizer loss",
    {},
    {"hidden": 100, "lr": 1.0},
    {"name": "wine", "hidden": 16},
    {"name": "breast_cancer", "hidden": 20},
    {"torch": True, "hidden": 50},
    {"torch": True, "name": "wine", "hidden": 30, "lr": 1.0},
)
def everything_wrong(
    kit: Kit, seed: int, mended: bool, name: str = "digits", hidden: int = 30, lr: float = 3.0
) -> Run:
    data = scaled(name, seed)
    if mended:
        model = kit.mlp(data.columns, hidden, data.classes, act="Sigmoid")
        loss, optimizer = kit.nn.CrossEntropyLoss(), kit.descend("SGD", model, 0.5, momentum=0.9)
    else:
        data = data.one_hot()
        model = kit.mlp(data.columns, hidden, data.y.shape[1], act="")
        kit.draw(model, 1.0, seed)
        loss, optimizer = kit.nn.MSELoss(), kit.descend("SGD", model, lr)
    return Run(kit, model, data, loss, optimizer, 15, 10, places=layers(model))


@bug(
    5,
    "48251943",
    {
        "output-activation": "a ReLU head cannot give the negative targets",
        "loss-output-mismatch": "the same, said of loss and output",
    },
    "loss data",
    {},
    {"hidden": 32, "act": "Tanh", "kind": "Adam", "lr": 0.02},
    {"name": "teacher", "hidden": 16},
    {"name": "teacher", "hidden": 24, "kind": "Adam", "lr": 0.01},
    {"torch": True, "hidden": 8},
    {"torch": True, "name": "teacher", "hidden": 32, "act": "Tanh"},
    static=True,
)
def relu_head(
    kit: Kit, seed: int, mended: bool, name: str = "below", hidden: int = 4, act: str = "ReLU",
    kind: str = "SGD", lr: float = 0.05,
) -> Run:  # fmt: skip
    if name == "below":
        rng = np.random.default_rng(seed)
        x = rng.uniform(-1, 1, (400, 2)).astype(np.float32)
        y = (-1 - x[:, :1] ** 2 - 0.8 * x[:, 1:]).astype(np.float32)
        data = sets.split(x, y, "real", seed)
    else:
        data = scaled(name, seed)
    model = kit.mlp(data.columns, hidden, 1, act=act, out="" if mended else "ReLU")
    return Run(
        kit, model, data, kit.nn.MSELoss(), kit.descend(kind, model, lr), 40, 16,
        places=frozenset({"3", "2", "2.weight", "2.bias"}),
    )  # fmt: skip


@bug(
    9,
    "34311586",
    {
        "loss-output-mismatch": "a softmax of one unit is 1 whatever comes in",
        "output-activation": "the same, said of the activation",
        "learning-rate-too-low": "SGD at 1e-3, its second fault",
        "too-few-steps": "20 epochs, the same",
    },
    "loss optimizer",
    {},
    {"name": "moons", "hidden": (8, 4)},
    {"name": "breast_cancer", "hidden": (8, 4), "act": "ReLU"},
    {"name": "blobs2", "hidden": (6,), "loss": "MSELoss"},
    {"torch": True},
    {"torch": True, "name": "moons", "hidden": (16,), "act": "Tanh"},
    static=True,
)
def one_unit_softmax(
    kit: Kit, seed: int, mended: bool, name: str = "xor", hidden: tuple[int, ...] = (6, 3),
    act: str = "Sigmoid", loss: str = "BCELoss",
) -> Run:  # fmt: skip
    data = scaled(name, seed).column()
    model = kit.mlp(data.columns, *hidden, 1, act=act, out="Sigmoid" if mended else "Softmax")
    if mended:
        optimizer, epochs = kit.descend("Adam", model, 0.03), 80
    else:
        optimizer, epochs = kit.descend("SGD", model, 1e-3), 20
    return Run(
        kit, model, data, getattr(kit.nn, loss)(), optimizer, epochs, 16,
        places=modules(model, "Softmax") | {str(2 * len(hidden))},
    )  # fmt: skip


@bug(
    13,
    "48934338",
    {
        "learning-rate-too-high": "SGD at 0.1 diverges; 1e-4 does not",
        "input-scale": "what makes 0.1 too high: unscaled inputs; scaling them mends it too",
        "target-scale": "the same for the targets",
        "optimizer-setting": "a rate that cannot be meant",
    },
    "optimizer data",
    {},
    {"lr": 0.5, "noise": 1.0, "hidden": (20,)},
    {"name": "digits", "hidden": (64, 32), "kind": "SGD", "lr": 20.0, "mend": 0.2},
    {"name": "digits", "hidden": (64,), "kind": "Adam", "lr": 0.5, "mend": 2e-3},
    {"name": "teacher", "hidden": (32, 32), "lr": 2.0, "mend": 0.05},
    {"torch": True},
    {"torch": True, "name": "teacher", "hidden": (32, 32), "kind": "Adam", "lr": 1.0, "mend": 3e-3},
)
def rate_too_high(
    kit: Kit, seed: int, mended: bool, name: str = "cubic", hidden: tuple[int, ...] = (50, 30),
    kind: str = "SGD", lr: float = 0.1, mend: float = 1e-4, noise: float = 2.0,
) -> Run:  # fmt: skip
    if name == "cubic":
        rng = np.random.default_rng(seed)
        x = rng.uniform(-8, 8, (500, 1))
        y = 5 * x**2 + (noise * rng.normal(size=x.shape)) ** 3
        data = sets.split(x.astype(np.float32), y.astype(np.float32), "real", seed)
    else:
        data = scaled(name, seed)
    outputs = 1 if data.task == "real" else data.classes
    model = kit.mlp(data.columns, *hidden, outputs)
    loss = kit.nn.MSELoss() if data.task == "real" else kit.nn.CrossEntropyLoss()
    return Run(
        kit, model, data, loss, kit.descend(kind, model, mend if mended else lr), 20, 16,
        places=layers(model),
    )  # fmt: skip


@bug(
    17,
    "52800582",
    {
        "input-scale": "x of hundreds as it is",
        "target-scale": "y of thousands as it is",
        "learning-rate-too-high": "where it explodes: the critical rate falls with x²",
    },
    "data optimizer",
    {},
    {"kind": "SGD", "lr": 0.01},
    {"high": 2000.0, "hidden": (30, 30), "act": "Tanh"},
    {"name": "diabetes", "hidden": (32,), "act": "Tanh", "lr": 1e-3},
    {"torch": True},
    {"torch": True, "kind": "SGD", "lr": 1e-3, "hidden": (20, 20), "high": 100.0},
)
def raw_curve(
    kit: Kit, seed: int, mended: bool, name: str = "curve", high: float = 500.0,
    hidden: tuple[int, ...] = (40,), act: str = "ReLU", kind: str = "Adam", lr: float = 1e-3,
) -> Run:  # fmt: skip
    if name == "curve":
        data = sets.curve(
            seed, lambda x: x + 300 * np.sin(8 * x / high) + x**2 / high, 0.0, high, noise=5.0
        )
    else:
        data = sets.table(name, seed)
    if mended:
        data = data.standardised(y=True)
        kind, lr = "Adam", 0.01 if name == "curve" else 5e-4
    model = kit.mlp(data.columns, *hidden, 1, act=act)
    return Run(
        kit, model, data, kit.nn.MSELoss(), kit.descend(kind, model, lr), 40, 16,
        places=frozenset({"0", "0.weight"}),
    )  # fmt: skip


@bug(
    21,
    "50079585",
    {
        "loss-output-mismatch": "one sigmoid unit with binary cross-entropy for three classes",
        "target-encoding": "labels 0, 1, 2 for a loss that takes 0 and 1",
        "output-activation": "a sigmoid cannot give 2",
    },
    "loss data",
    {},
    {"name": "wine", "hidden": 16},
    {"name": "blobs4", "hidden": 24},
    {"name": "digits", "hidden": 32, "loss": "BCEWithLogitsLoss"},
    {"torch": True, "name": "wine", "hidden": 24, "loss": "BCEWithLogitsLoss"},
    {"name": "iris", "hidden": 12, "loss": "MSELoss"},
    static=True,
)
def one_unit_three_classes(
    kit: Kit, seed: int, mended: bool, name: str = "iris", hidden: int = 8, loss: str = "BCELoss"
) -> Run:
    data = scaled(name, seed)
    if mended:
        model = kit.mlp(data.columns, hidden, data.classes)
        made = kit.nn.CrossEntropyLoss()
    else:
        truth = data.y_held
        data = data.column()
        model = kit.mlp(
            data.columns, hidden, 1, out="" if loss == "BCEWithLogitsLoss" else "Sigmoid"
        )
        made = getattr(kit.nn, loss)()
    found = Run(kit, model, data, made, kit.descend("Adam", model, 0.01), 30, 16,
                places=frozenset({"2", "2.weight", "2.bias", "3"}))  # fmt: skip
    if not mended:
        found.truth = truth
    return found


@bug(
    25,
    "45442843",
    {
        "loss-output-mismatch": "a softmax of one unit is 1 whatever comes in",
        "output-activation": "the same, and no softmax can give the real targets",
    },
    "loss data",
    {},
    {"hidden": 8, "name": "teacher"},
    {"hidden": 16, "name": "diabetes"},
    {"hidden": 4, "loss": "MSELoss"},
    {"torch": True, "hidden": 12, "name": "teacher"},
    {"torch": True, "hidden": 3, "loss": "MSELoss"},
    static=True,
)
def softmax_for_a_line(
    kit: Kit, seed: int, mended: bool, name: str = "line", hidden: int = 1, loss: str = "L1Loss"
) -> Run:
    if name == "line":
        data = sets.curve(seed, lambda x: 2 * x + 1, -1, 1, noise=0.05)
    else:
        data = scaled(name, seed)
    model = kit.mlp(data.columns, hidden, 1, act="Sigmoid", out="" if mended else "Softmax")
    if mended:
        rate = 3e-3 if name == "diabetes" else 0.05
        loss, optimizer = "MSELoss", kit.descend("Adam", model, rate)
    else:
        optimizer = kit.descend("SGD", model, 0.01)
    return Run(kit, model, data, getattr(kit.nn, loss)(), optimizer, 50, 16,
               places=frozenset({"2", "3"}))  # fmt: skip


@bug(
    29,
    "56380303",
    {
        "learning-rate-too-low": "the rate is too low for so few epochs",
        "too-few-steps": "the same, said of the epochs",
        "optimizer-setting": "plain SGD where Adam is the fix",
    },
    "optimizer",
    {},
    {"name": "wine", "hidden": (32,), "lr": 1e-3, "epochs": 20},
    {"name": "digits", "hidden": (64, 32), "kind": "Adam", "lr": 1e-6, "epochs": 6},
    {"name": "breast_cancer", "hidden": (32, 16), "lr": 1e-4, "epochs": 12},
    {"torch": True, "hidden": (128,), "lr": 3e-3},
    {"torch": True, "name": "digits", "hidden": (32,), "kind": "Adagrad", "lr": 1e-4, "epochs": 8},
)
def slow(
    kit: Kit, seed: int, mended: bool, name: str = "digits", hidden: tuple[int, ...] = (64, 64),
    kind: str = "SGD", lr: float = 0.01, epochs: int = 5,
) -> Run:  # fmt: skip
    data = scaled(name, seed)
    model = kit.mlp(data.columns, *hidden, data.classes)
    optimizer = kit.descend("Adam", model, 3e-3) if mended else kit.descend(kind, model, lr)
    return Run(kit, model, data, kit.nn.CrossEntropyLoss(), optimizer, 15 if mended else epochs)


@bug(
    33,
    "41327601",
    {
        "loss-output-mismatch": "binary cross-entropy on a softmax of several classes",
        "output-activation": "the same, said of the activation",
    },
    "loss",
    {},
    {"name": "digits", "hidden": 32, "lr": 0.1, "epochs": 4},
    {"name": "blobs4", "lr": 0.02, "epochs": 4},
    {"name": "digits", "hidden": 64, "lr": 0.05, "epochs": 6},
    {"torch": True, "name": "digits", "hidden": 64, "lr": 0.1, "epochs": 3},
    {"torch": True, "name": "digits", "hidden": 48, "lr": 0.1, "epochs": 4},
    static=True,
)
def binary_loss_for_classes(
    kit: Kit, seed: int, mended: bool, name: str = "digits", hidden: int = 24, lr: float = 0.1,
    epochs: int = 5,
) -> Run:  # fmt: skip
    """Mean over classes as well as rows: with C classes the gradient is about C times smaller."""
    data = scaled(name, seed)
    model = kit.mlp(data.columns, hidden, data.classes, out="" if mended else "Softmax")
    loss = kit.nn.CrossEntropyLoss() if mended else kit.nn.BCELoss()
    data = data if mended else data.one_hot()
    return Run(kit, model, data, loss, kit.descend("SGD", model, lr), epochs, 16,
               places=frozenset({"2", "3"}))  # fmt: skip


@bug(
    37,
    "46642627",
    {
        "loss-output-mismatch": "binary cross-entropy for a real target",
        "target-encoding": "targets of 25 to 346 for a loss that takes 0 to 1",
        "target-scale": "the same, said of the scale",
        "output-activation": "a sigmoid cannot give them",
    },
    "loss data",
    {},
    {"hidden": 64, "head": "Sigmoid"},
    {"name": "teacher", "hidden": 32, "head": "Sigmoid"},
    {"name": "teacher", "hidden": 16},
    {"torch": True, "hidden": 16},
    {"torch": True, "name": "teacher", "hidden": 32},
    static=True,
)
def choice_loss_for_numbers(
    kit: Kit, seed: int, mended: bool, name: str = "diabetes", hidden: int = 32, head: str = ""
) -> Run:
    if name == "diabetes":
        data = sets.table(name, seed).standardised(y=mended)
    else:
        data = scaled(name, seed)
    model = kit.mlp(data.columns, hidden, 1, out="" if mended else head)
    loss = "MSELoss" if mended else "BCELoss" if head else "BCEWithLogitsLoss"
    rate, epochs = (3e-3, 15) if mended and name == "diabetes" else (0.01, 40)
    optimizer = kit.descend("Adam" if mended else "SGD", model, rate)
    return Run(kit, model, data, getattr(kit.nn, loss)(), optimizer, epochs, 32,
               places=frozenset({"2", "3"}))  # fmt: skip


@bug(
    41,
    "T:constant init",
    {
        "symmetric-units": "units that start equal stay equal",
        "bad-initialisation": "the same, said of the initialisation",
    },
    "",
    {},
    {"weight": 0.0},
    {"name": "wine", "hidden": (16, 16), "weight": 0.1, "act": "Tanh"},
    {"name": "moons", "hidden": (32,), "weight": 0.5},
    {"torch": True, "name": "blobs4", "hidden": (24,), "weight": 0.05, "act": "Sigmoid"},
    {"torch": True, "hidden": (32,), "weight": 1.0},
    static=True,
)
def constant_weights(
    kit: Kit, seed: int, mended: bool, name: str = "digits", hidden: tuple[int, ...] = (32, 32),
    weight: float = 0.01, act: str = "ReLU",
) -> Run:  # fmt: skip
    data = scaled(name, seed)
    model = kit.mlp(data.columns, *hidden, data.classes, act=act)
    if not mended:
        kit.fill(model, weight)
    return Run(kit, model, data, kit.nn.CrossEntropyLoss(), kit.descend("Adam", model, 3e-3), 20,
               16, places=layers(model))  # fmt: skip


@bug(
    45,
    "T:wrong_labels",
    {"label-mismatch": "the inputs were shuffled and the targets were not"},
    "data loss",
    {},
    {"name": "breast_cancer", "hidden": 32},
    {"name": "blobs4", "hidden": 24},
    {"name": "teacher", "hidden": 32},
    {"torch": True, "name": "wine", "hidden": 16},
    {"torch": True, "hidden": 64},
    mendable=False,
)
def shuffled_inputs(
    kit: Kit, seed: int, mended: bool, name: str = "digits", hidden: int = 48
) -> Run:
    data = scaled(name, seed)
    truth = data.y_held
    if not mended:
        rng = np.random.default_rng(seed)
        data = Data(rng.permutation(data.x), data.y, rng.permutation(data.x_held), data.y_held,
                    data.task)  # fmt: skip
    real = data.task == "real"
    model = kit.mlp(data.columns, hidden, 1 if real else data.classes)
    loss = kit.nn.MSELoss() if real else kit.nn.CrossEntropyLoss()
    return Run(kit, model, data, loss, kit.descend("Adam", model, 3e-3), 20, truth=truth)


@bug(
    49,
    "T:IPS_14",
    {
        "sum-reduction": "the loss sums over the batch, at a rate meant for the mean",
        "learning-rate-too-high": "η · Σ is (η · batch size) · mean: the same product",
    },
    "loss optimizer",
    {},
    {"form": "CrossEntropyLoss", "lr": 0.1, "batch": 64},
    {"form": "MSELoss", "name": "teacher", "lr": 0.05, "batch": 64},
    {"form": "log", "name": "wine", "hidden": 64, "lr": 0.1},
    {"torch": True, "form": "CrossEntropyLoss", "hidden": 128, "lr": 0.1, "batch": 128},
    {"torch": True, "form": "MSELoss", "name": "teacher", "lr": 0.1, "batch": 32},
)
def summed(
    kit: Kit, seed: int, mended: bool, name: str = "digits", hidden: int = 64, form: str = "log",
    lr: float = 0.05, batch: int = 64,
) -> Run:  # fmt: skip
    data = scaled(name, seed)
    real = data.task == "real"
    head = "Softmax" if form == "log" and not mended else ""
    model = kit.mlp(data.columns, hidden, hidden, 1 if real else data.classes, out=head)
    if mended:
        loss: Any = kit.nn.MSELoss() if real else kit.nn.CrossEntropyLoss()
    elif form == "log":
        data = data.one_hot()

        def loss(p: Any, y: Any) -> Any:
            return -(y * kit.array.log(p)).sum()
    else:
        loss = getattr(kit.nn, form)(reduction="sum")
    return Run(kit, model, data, loss, kit.descend("SGD", model, lr), 30, batch,
               places=layers(model))  # fmt: skip


@bug(
    53,
    "own: frozen",
    {
        "frozen-parameters": "some parameters never move",
        "unreached-parameters": "no optimiser holds them, or no loss reaches them",
    },
    "optimizer",
    {},
    {"how": "held", "hidden": (12, 6), "lr": 3e-3},
    {"how": "biases", "hidden": (24,), "lr": 3e-3},
    {"how": "first", "hidden": (6, 16)},
    {"torch": True, "how": "last", "hidden": (16, 6), "lr": 3e-3},
    {"torch": True, "how": "detach", "hidden": (8, 8)},
)
def frozen(
    kit: Kit, seed: int, mended: bool, name: str = "digits", hidden: tuple[int, ...] = (6, 6),
    how: str = "middle", lr: float = 3e-3,
) -> Run:  # fmt: skip
    """`how`: which layers ask for no gradient, or are not held by the optimiser."""
    data = scaled(name, seed)
    model = kit.mlp(data.columns, *hidden, data.classes)
    names = dict(model.named_parameters())
    last = str(2 * len(hidden))
    chosen = {
        "middle": [n for n in names if n.startswith("2.")],
        "first": [n for n in names if n.startswith("0.")],
        "last": [n for n in names if not n.startswith("0.")],
        "held": [n for n in names if not n.startswith(last)],
        "biases": [n for n in names if n.endswith("weight")],
        "detach": [n for n in names if not n.startswith(last)],
    }[how]
    optimizer = kit.descend("Adam", model, lr)
    places = frozenset(chosen) | frozenset(n.rpartition(".")[0] for n in chosen)
    if not mended:
        if how in ("middle", "last"):
            for n in chosen:
                names[n].requires_grad = False
            optimizer = kit.descend("Adam", model, lr)
        elif how == "detach":
            model = kit.through(
                lambda self, x: self.head(self.body(x).detach()),
                body=model[: int(last)],
                head=model[int(last)],
            )
            places = frozenset(
                {"body", *(f"body.{n}" for n in places), *(f"body.{n}" for n in names)}
            )
            optimizer = kit.descend("Adam", model, lr)
        else:
            left = [p for n, p in names.items() if n not in chosen]
            optimizer = kit.optim.Adam(left, lr=lr)
    return Run(kit, model, data, kit.nn.CrossEntropyLoss(), optimizer, 20, 16, places=places)


@bug(
    57,
    "own: zero_grad left out",
    {"stale-gradients": "every step adds the gradients of all steps before"},
    "optimizer loss",
    {},
    {"name": "blobs4", "hidden": (32, 16), "lr": 0.2},
    {"name": "teacher", "hidden": (32,), "lr": 0.05},
    {"name": "moons", "hidden": (16, 16), "kind": "Adam", "lr": 0.02},
    {"torch": True, "lr": 0.2},
    {"torch": True, "name": "teacher", "hidden": (16, 16), "kind": "Adam", "lr": 0.01},
)
def never_cleared(
    kit: Kit, seed: int, mended: bool, name: str = "digits", hidden: tuple[int, ...] = (32, 32),
    kind: str = "SGD", lr: float = 0.1,
) -> Run:  # fmt: skip
    data = scaled(name, seed)
    real = data.task == "real"
    model = kit.mlp(data.columns, *hidden, 1 if real else data.classes)
    loss = kit.nn.MSELoss() if real else kit.nn.CrossEntropyLoss()
    return Run(kit, model, data, loss, kit.descend(kind, model, lr), 25, 32,
               loop={"clear": mended})  # fmt: skip
