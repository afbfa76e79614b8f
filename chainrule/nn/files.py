"""Model files: safetensors, with the architecture as JSON in the metadata; never pickle.

A file holds the arrays under their names in `state_dict()`, which any safetensors reader reads, and
in its metadata two entries: `chainrule`, a JSON object

    version        1
    architecture   how to make the model again (`chainrule.nn.architecture`); null for bare arrays
    checksums      tensor name → CRC-32 of its dtype, shape and bytes
    metadata       what the caller of `save` added

and `chainrule_checksum`, the CRC-32 of that JSON text.
"""

from __future__ import annotations

import difflib
import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import CheckpointError
from chainrule.nn.architecture import build, describe
from chainrule.nn.module import Module, convert
from chainrule.nn.state import load_state
from chainrule.tensor.locate import explained

_VERSION = 1
_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64"),
)
_ALTERED = (
    "The file was altered after it was written. Copy it again from where it was made, or take an "
    "earlier one."
)
_CUT = (
    "The file was cut off: a download, a copy or a full disk stopped it. Copy it again from where "
    "it was made, or take an earlier one."
)


@explained
def save(model: Any, path: str | os.PathLike, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a model (or a dict of arrays) to a safetensors file.

    The weights stand under their names in `state_dict()`; PyTorch reads them with
    `safetensors.torch.load_file`. The file is written beside, synced to the disk and renamed, so
    that `path` holds at every instant the old file or the new one.

    Args:
        model: a Module, or a dict from names to arrays.
        path: where to, usually ending in ".safetensors".
        metadata: anything that JSON can hold, which `read_metadata` gives back.

    Raises:
        CheckpointError: it cannot be written; a dtype that safetensors has not; metadata that is
            not JSON.

    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(4, 2), nn.Tanh())
    >>> save(model, "model.safetensors")
    >>> load("model.safetensors")
    Sequential(
      (0): Linear(in_features=4, out_features=2)
      (1): Tanh()
    )
    """
    path = Path(path)
    if isinstance(model, Module):
        arrays, architecture = model.state_dict(), describe(model)
    elif isinstance(model, Mapping):
        arrays = {str(k): np.array(v, order="C", copy=None) for k, v in model.items()}
        architecture = None
    else:
        raise CheckpointError(
            f"save takes a chainrule module or a dict of arrays, not {type(model).__name__}. "
            "A PyTorch module is written by safetensors.torch.save_file(model.state_dict(), path)."
        )
    for name, array in arrays.items():
        if array.dtype.name not in _DTYPES:
            known = ", ".join(_DTYPES)
            raise CheckpointError(
                f"{path}: {name!r} is {array.dtype}, and a safetensors file holds {known}"
            )
    content = {
        "version": _VERSION,
        "architecture": architecture,
        "checksums": {name: _array_crc(array) for name, array in arrays.items()},
        "metadata": metadata or {},
    }
    try:
        text = json.dumps(content)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: the metadata cannot be written as JSON: {error}. Use dicts, lists, text, "
            "numbers, True, False and None."
        ) from None
    header = {"chainrule": text, "chainrule_checksum": _crc(text.encode())}

    def write(beside: Path) -> None:
        from safetensors.numpy import save_file

        save_file(arrays, str(beside), metadata=header)

    write_atomically(path, write)


@explained
def load(path: str | os.PathLike) -> Any:
    """Read a file that `save` wrote: the model, in the mode that it was saved in.

    The library's own layers are made again. A file without an architecture, such as one that
    PyTorch wrote, gives a dict from names to arrays: `model.load_state_dict(cr.load(path))`.

    Raises:
        CheckpointError: there is no such file; it is cut off, altered, or of another kind; the
            model holds a class of your own (it says how to load the weights).
    """
    path = Path(path)
    arrays, content = _read(path)
    if content is None or content["architecture"] is None:
        return arrays
    try:
        model = build(content["architecture"])
        cells = dict(model._state())
        for name, array in arrays.items():
            if name in cells and cells[name].dtype != array.dtype:
                convert(cells[name], array.dtype)
        load_state(f"the {type(model).__name__} that the file describes", cells, arrays)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return model


@explained
def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """name → array of everything in a safetensors file, whatever its architecture.

    >>> from chainrule import nn
    >>> save(nn.Linear(2, 1), "layer.safetensors")
    >>> sorted(read_arrays("layer.safetensors"))
    ['bias', 'weight']
    """
    return _read(Path(path))[0]


@explained
def read_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """What the caller of `save` added; of another program's file, its own metadata.

    >>> from chainrule import nn
    >>> save(nn.Linear(2, 1), "layer.safetensors", metadata={"classes": ["cat", "dog"]})
    >>> read_metadata("layer.safetensors")
    {'classes': ['cat', 'dog']}
    """
    path = Path(path)
    with _open(path) as file:
        content = _content(path, file)
        return dict(file.metadata() or {}) if content is None else content["metadata"]


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file beside `path`, sync it to the disk, and rename it to `path`.

    Raises:
        CheckpointError: it cannot be written; what `path` held before is as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if not path.parent.is_dir():
            raise CheckpointError(f"{path} cannot be written: there is no folder {path.parent}")
        if path.is_dir():
            raise CheckpointError(f"{path} cannot be written: it is a folder; name a file in it")
        try:
            beside.touch()
            mode = beside.stat().st_mode  # what the user's umask gives
            write(beside)
            beside.chmod(mode)
            _sync(beside)
            os.replace(beside, path)
            _sync(path.parent)
        except Exception as error:
            if not isinstance(error, OSError) and type(error).__name__ != "SafetensorError":
                raise
            reason = getattr(error, "strerror", None) or error
            raise CheckpointError(
                f"{path} cannot be written: {reason}. What it held before, if anything, is as it "
                "was."
            ) from None
    finally:
        beside.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Reading


def _open(path: Path) -> Any:
    """safetensors' reader of a file, whose errors say what is wrong with the file."""
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(str(path), framework="np")
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {_diagnose(path, error)}") from None


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    with _open(path) as file:
        content = _content(path, file)
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if content is not None:
        checksums = content["checksums"]
        for name in {**arrays, **checksums}:
            if name not in arrays or checksums.get(name) != _array_crc(arrays[name]):
                raise CheckpointError(f"{path}: {name!r} is not as it was written. {_ALTERED}")
    return arrays, content


def _content(path: Path, file: Any) -> dict[str, Any] | None:
    """What `save` put into the metadata, checked; None where `save` did not write the file."""
    header = file.metadata() or {}
    if not {"chainrule", "chainrule_checksum"} & set(header):
        return None
    text = header.get("chainrule", "")
    if header.get("chainrule_checksum") != _crc(text.encode()):
        raise CheckpointError(f"{path}: the header is not as it was written. {_ALTERED}")
    content = json.loads(text)
    if content["version"] > _VERSION:
        raise CheckpointError(
            f"{path} is of version {content['version']} of the format, and this chainrule reads up "
            f"to {_VERSION}; install a newer one"
        )
    return content


def _crc(data: Any, start: int = 0) -> str:
    return f"{zlib.crc32(data, start):08x}"


def _array_crc(array: np.ndarray) -> str:
    described = f"{array.dtype.name} {array.shape}".encode()
    return _crc(array.reshape(-1).view(np.uint8), zlib.crc32(described))


def _diagnose(path: Path, error: Exception) -> str:
    """What is wrong with a file that safetensors refuses."""
    if isinstance(error, FileNotFoundError):
        there = [p.name for p in path.parent.glob("*.safetensors")]
        near = ", ".join(difflib.get_close_matches(path.name, there, 1, 0.5) or there[:3])
        return "there is no such file" + (f"; in its folder is {near}" if near else "")
    if path.is_dir():
        return "this is a folder; name the model.safetensors in it"
    if isinstance(error, OSError):
        return f"it cannot be read: {error.strerror or error}"
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(9)
        length = int.from_bytes(start[:8], "little")
        header = start[8:] + file.read(min(length, size))[: length - 1]
    if start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return (
            "this is a pickle or a zip file, such as torch.save writes, and opening one runs code "
            "from it. Where PyTorch is, write safetensors.torch.save_file(model.state_dict(), path)"
        )
    if size < 9:
        return f"it has {size} bytes, and a safetensors file begins with 8 and a header. {_CUT}"
    if start[8:] != b"{":
        return "this is not a safetensors file: byte 8 does not begin a header with {"
    if 8 + length > size:
        return f"the header ends at byte {8 + length}, and the file at byte {size}. {_CUT}"
    try:
        entries = json.loads(header)
        ends = {
            name: (8 + length + entry["data_offsets"][0], 8 + length + entry["data_offsets"][1])
            for name, entry in entries.items()
            if name != "__metadata__"
        }
        for name, (first, last) in sorted(ends.items(), key=lambda item: item[1]):
            if last > size:
                return f"{name!r} is bytes {first} to {last}, and the file ends at {size}. {_CUT}"
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as problem:
        return f"the header (bytes 8 to {8 + length}) cannot be read: {problem}. {_ALTERED}"
    return f"the header does not describe the file: {error}. {_ALTERED}"
