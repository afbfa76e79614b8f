"""Object code on disk, so that what was compiled once is only loaded later.

An entry is a file named by its key, the SHA-256 of everything that its code depends on. It is
written beside its place and renamed, so that nobody reads half of one, and it carries the key, its
lengths and a checksum: what is damaged, cut short or foreign is taken for absent and written anew.
A folder that cannot be written means that nothing is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
from functools import cache as once
from pathlib import Path
from typing import Any

from chainrule.compile.machine import Machine
from chainrule.version import __version__

LIMIT = 512 << 20  # bytes in all; the entries that were used longest ago go first
_SUFFIX = ".object"
_MAGIC = b"chainrule object\x01"
_HEADER = struct.Struct("<17s32s32sQQ")  # magic, key, checksum, lengths of the facts and the code


def folder() -> Path:
    """Where entries are kept: $CHAINRULE_CACHE, or the user's folder for caches."""
    if own := os.environ.get("CHAINRULE_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "chainrule"


def key(source: str, machine: Machine) -> bytes:
    """The key of code made from `source` by this version of the compiler for this machine."""
    parts = (source, machine.architecture, machine.cpu, machine.features, _versions())
    return hashlib.sha256("\0".join(parts).encode()).digest()


def load(key: bytes) -> tuple[Any, bytes] | None:
    """The facts and the object code kept under a key, if there is a sound entry."""
    place = _place(key)
    try:
        data = place.read_bytes()
        os.utime(place)  # it was used now
    except OSError:
        return None
    if len(data) < _HEADER.size:
        return None
    magic, owner, checksum, facts, code = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if magic != _MAGIC or owner != key or len(body) != facts + code:
        return None
    if hashlib.sha256(body).digest() != checksum:
        return None
    return json.loads(body[:facts]), body[facts:]


def store(key: bytes, object_code: bytes, facts: Any = None) -> None:
    """Keep object code, and facts about it that JSON can hold; do nothing where that fails."""
    text = json.dumps(facts).encode()
    checksum = hashlib.sha256(text + object_code).digest()
    header = _HEADER.pack(_MAGIC, key, checksum, len(text), len(object_code))
    import tempfile  # milliseconds that those who only load need not spend

    with contextlib.suppress(OSError):
        place = _place(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        _make_room(place.parent, len(header) + len(text) + len(object_code))
        descriptor, name = tempfile.mkstemp(dir=place.parent, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(header + text + object_code)
            os.replace(name, place)
        except BaseException:
            os.unlink(name)
            raise


def _place(key: bytes) -> Path:
    return folder() / (key.hex() + _SUFFIX)


def _make_room(place: Path, wanted: int) -> None:
    """Remove the entries used longest ago until `wanted` more bytes stay within the limit."""
    entries = []
    for item in os.scandir(place):
        if item.name.endswith((_SUFFIX, ".part")):
            with contextlib.suppress(OSError):
                status = item.stat()
                entries.append((status.st_mtime, status.st_size, item.path))
    excess = sum(size for _, size, _ in entries) + wanted - LIMIT
    for _, size, path in sorted(entries):
        if excess <= 0:
            break
        with contextlib.suppress(OSError):
            os.unlink(path)
        excess -= size


@once
def _versions() -> str:
    """The version of the library, of the sources of its compiler, and of LLVM."""
    import llvmlite

    whole = Path(__file__).parents[1]
    sources = hashlib.sha256()
    for part in ("compile", "ops", "tensor"):  # operations tell the compiler what they mean
        for path in sorted((whole / part).rglob("*.py")):
            sources.update(path.relative_to(whole).as_posix().encode())
            sources.update(path.read_bytes())
    return f"{__version__} {sources.hexdigest()} {llvmlite.__version__}"
