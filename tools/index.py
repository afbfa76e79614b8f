"""Write what lazy import and type checkers need, from the declarations: `make index`.

`chainrule/_index.py` says in which module each public name lives; `chainrule/__init__.pyi` and the
extensions' `.pyi` give type checkers their signatures. The suite fails when one is stale.

A module of operations that says `NAMESPACE = "linalg"` has its public names in `cr.linalg` alone;
`ALSO_IN = {"linalg": ("matmul",)}` puts some of a module's names into a further namespace, of which
"" is the top level.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# Public names that are not operations or creation functions: module -> names ("name=attribute").
OTHERS = {
    "chainrule.tensor.tensor": ["Tensor", "__array_api_version__=API_VERSION"],
    "chainrule.tensor.graph": ["no_grad"],
    "chainrule.tensor.generator": ["seed", "Generator"],
    "chainrule.tensor.dtypes": [
        "bool=bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        "float16", "float32", "float64", "complex64", "complex128",
    ],
    "chainrule.tensor.inspection": [
        "__array_namespace_info__=namespace_info", "broadcast_shapes", "can_cast", "finfo", "iinfo",
        "isdtype", "result_type",
    ],
    "chainrule.tensor.nonfinite": ["detect_nonfinite"],
    "chainrule.tensor.constants": ["pi", "e", "inf", "nan", "newaxis"],
    "chainrule.errors": [
        "ChainruleError", "ShapeError", "DTypeError", "NonFiniteError", "GradientError",
        "DataError", "CheckpointError", "CompileError", "OutOfMemoryError",
    ],
    "chainrule.compile.compiled": ["compile"],
    "chainrule.compile.pool": ["get_num_threads", "set_num_threads"],
    "chainrule.calculus": [
        "grad", "value_and_grad", "vjp", "jvp", "vmap", "jacobian", "hessian", "hvp",
        "gauss_newton_product", "fisher_product", "lanczos", "power_iteration", "hutchinson_trace",
        "custom_derivative", "checkpoint", "fixed_point", "check_gradients",
    ],
    "chainrule.calculus.derive": ["derive"],
    "chainrule.nn.files": ["save", "load"],
    "chainrule.nn.summary": ["summary"],
    "chainrule.train": ["Classifier", "Regressor", "fit"],
    "chainrule.lens.explain": ["explain"],
    "chainrule.lens.diagnose": ["diagnose"],
    "chainrule.lens.diagnose.watch": ["watch"],
    "chainrule.lens.interpret.attribution": ["attribute"],
    "chainrule.lens.interpret.dependence": ["partial_dependence"],
    "chainrule.lens.interpret.importance": ["permutation_importance"],
    "chainrule.lens.interpret.influence": ["influence"],
    "chainrule.lens.interpret.interpret": ["interpret"],
}  # fmt: skip
MODULES = [
    "nn", "optim", "probability", "data", "train", "random", "linalg", "fft", "special",
]  # fmt: skip


Found = dict[str, tuple[str, str]]  # name -> (module, attribute)


def find() -> dict[str, Found]:
    """namespace -> its public names, for those whose module exists; "" is the top level."""
    import chainrule.ops
    from chainrule.ops.operation import Operation

    spaces: dict[str, Found] = {"": {}}
    found = spaces[""]
    modules = ["chainrule.tensor.creation"]
    for info in pkgutil.iter_modules(chainrule.ops.__path__):
        if info.name not in chainrule.ops.MACHINERY:
            modules.append(f"chainrule.ops.{info.name}")
    for name in modules:
        module = importlib.import_module(name)
        space = spaces.setdefault(getattr(module, "NAMESPACE", ""), {})
        for key, value in vars(module).items():
            own = isinstance(value, (types.FunctionType, Operation)) and value.__module__ == name
            if own and not key.startswith("_") and key not in getattr(module, "INTERNAL", ()):
                space[key] = (name, key)
        for further, keys in getattr(module, "ALSO_IN", {}).items():
            spaces.setdefault(further, {}).update({key: (name, key) for key in keys})
    for name, names in OTHERS.items():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        for entry in names:
            public, _, attribute = entry.partition("=")
            if hasattr(module, attribute or public):
                found[public] = (name, attribute or public)
    return {space: dict(sorted(names.items())) for space, names in sorted(spaces.items())}


def index_text(spaces: dict[str, Found]) -> str:
    lines = ['"""Where each public name lives. Written by tools/index.py; do not edit."""', ""]
    present = [m for m in MODULES if _exists(m)]
    lines.append(f"MODULES = frozenset({present!r})")
    lines.append("NAMES = {")
    lines += _entries(spaces[""], "    ")
    lines += ["}", "EXTENSIONS = {"]
    for space in filter(None, spaces):
        lines += [f'    "{space}": {{', *_entries(spaces[space], "        "), "    },"]
    lines.append("}")
    return "\n".join(lines) + "\n"


def _entries(found: Found, indent: str) -> list[str]:
    lines = []
    for name, (module, attribute) in found.items():
        target = module if attribute == name else f"{module}:{attribute}"
        lines.append(f'{indent}"{name}": "{target}",')
    return lines


def _exists(module: str) -> bool:
    package = ROOT / "chainrule"
    return (package / module / "__init__.py").exists() or (package / f"{module}.py").exists()


def stub_text(found: Found, modules: list[str] | None = None) -> str:
    """The stub of an extension, or, with its `modules`, of the top level."""
    lines = [
        "# Written by tools/index.py; do not edit.",
        "from typing import Any",
        "",
        "from chainrule.tensor.tensor import Tensor as Tensor",
    ]
    lines += [f"from chainrule import {m} as {m}" for m in modules or [] if _exists(m)]
    functions = []
    for name, (module, attribute) in found.items():
        if name == "Tensor":
            continue
        value = getattr(importlib.import_module(module), attribute)
        if type(value).__module__.startswith("chainrule.ops"):
            functions.append(_stub(name, inspect.signature(value)))
        else:
            lines.append(f"from {module} import {attribute} as {name}")
    if modules is not None:
        lines += ["", "__version__: str"]
    lines += ["", *functions]
    return "\n".join(lines) + "\n"


def _stub(name: str, signature: inspect.Signature) -> str:
    parts = []
    kind = None
    for p in signature.parameters.values():
        if kind is p.POSITIONAL_ONLY and p.kind is not kind:
            parts.append("/")
        if p.kind is p.KEYWORD_ONLY and kind not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL):
            parts.append("*")
        kind = p.kind
        star = "*" if p.kind is p.VAR_POSITIONAL else ""
        default = "" if p.default is p.empty else " = ..."
        parts.append(f"{star}{p.name}: Any{default}")
    if kind is inspect.Parameter.POSITIONAL_ONLY:
        parts.append("/")
    return f"def {name}({', '.join(parts)}) -> Tensor: ..."


def texts() -> dict[Path, str]:
    """What the generated files should hold."""
    spaces = find()
    package = ROOT / "chainrule"
    return {
        package / "_index.py": index_text(spaces),
        package / "__init__.pyi": stub_text(spaces[""], MODULES),
        **{package / f"{s}.pyi": stub_text(spaces[s]) for s in filter(None, spaces)},
        ROOT / "docs" / "operations.md": operations_text(spaces),
    }


def operations_text(spaces: dict[str, Found]) -> str:
    """The table of operations with their formulas and derivatives."""
    from chainrule.ops.operation import registry

    ours = {n: op for n, op in registry.items() if op.__module__.startswith("chainrule.")}
    public = {}
    for n, op in sorted(ours.items()):
        space = next((s for s, f in spaces.items() if f.get(n, ("",))[0] == op.__module__), None)
        if space is not None:
            public[f"{space}.{n}" if space else n] = op
    lines = [
        "# The operations",
        "",
        f"{len(public)} public operations, of {len(ours)} declared. Written from the declarations",
        "by `make index`; the suite fails when it is stale. An index takes its range from the",
        "operand that it stands in; `…` stands for any axes in front. `y` is the result, in",
        "derivatives too.",
    ]
    modules = sorted({op.__module__ for op in public.values()})
    for module in modules:
        title = (sys.modules[module].__doc__ or module).split("\n\n")[0].replace("\n", " ")
        lines += ["", f"## {module.removeprefix('chainrule.ops.').replace('_', ' ').capitalize()}"]
        lines += ["", title, "", "| operation | formula | derivative |", "|---|---|---|"]
        for name, op in public.items():
            if op.__module__ == module:
                row = f"| `{name}` | {_cell(op.formula.plain())} | {_cell(_derivative(op))} |"
                lines.append(row)
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return "`" + " ".join(text.split()).replace("|", "\\|") + "`" if text else ""


def _derivative(op: object) -> str:
    """In words or as formulas, by the way in which the operation has its derivative."""
    from chainrule.ops.express import local_derivatives

    if op.kind == "elementwise":
        if not op.derivative:
            return "none"
        texts = local_derivatives(op)
        return "; ".join(f"∂y/∂{n} = {t}" for n, t in zip(op.operand_names, texts, strict=True))
    return {
        "linear": "linear: by its transpose",
        "bilinear": "bilinear: by a transpose for each operand",
        "composite": "that of its definition",
        "constant": f"none: {getattr(op, 'reason', '')}",
        "operation": "its own vjp and jvp",
    }[op.kind]


if __name__ == "__main__":
    stub = ROOT / "chainrule" / "_index.py"
    if not stub.exists():
        stub.write_text("MODULES = frozenset()\nNAMES = {}\n")
    for path, text in texts().items():
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")
