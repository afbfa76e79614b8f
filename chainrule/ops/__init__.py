"""The vocabulary: one declaration for each operation, in files by mathematics."""

import importlib
import pkgutil

# Every file here that is not machinery declares operations; a new one needs no entry in a list.
MACHINERY = {
    "operation", "elementwise", "composite", "declare", "domain", "notation", "express",
    "borrowed", "batching", "batched_indexing", "native",
}  # fmt: skip
for _module in pkgutil.iter_modules(__path__):
    if _module.name not in MACHINERY:
        importlib.import_module(f"{__name__}.{_module.name}")
