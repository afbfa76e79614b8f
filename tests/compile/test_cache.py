"""Only what was stored whole, by this machine and version, comes out of the cache."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule.compile import cache
from chainrule.compile.machine import machine

CODE = bytes(range(256)) * 8
FACTS = {"lengths": [1024, 1024], "name": "σ"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setenv("CHAINRULE_CACHE", str(place))
    return place


def only(folder: Path) -> Path:
    (entry,) = folder.iterdir()
    return entry


def test_what_is_stored_is_loaded(folder: Path) -> None:
    key = cache.key("source", machine())
    assert cache.load(key) is None
    cache.store(key, CODE, FACTS)
    assert cache.load(key) == (FACTS, CODE)
    cache.store(key, b"", None)
    assert cache.load(key) == (None, b"")


def test_the_key_depends_on_source_and_machine() -> None:
    host = machine()
    others = [
        dataclasses.replace(host, cpu="another"),
        dataclasses.replace(host, features="+none"),
        dataclasses.replace(host, architecture="vax"),
    ]
    keys = {cache.key(s, m) for s in ("source", "sources") for m in (host, *others)}
    assert len(keys) == 8
    assert cache.key("source", host) in keys


@pytest.mark.parametrize("length", [0, 1, 16, 100, 105, 106, 120, -1])
def test_a_truncated_entry_is_ignored_and_written_anew(folder: Path, length: int) -> None:
    key = cache.key("source", machine())
    cache.store(key, CODE, FACTS)
    entry = only(folder)
    entry.write_bytes(entry.read_bytes()[:length])
    assert cache.load(key) is None
    cache.store(key, CODE, FACTS)
    assert cache.load(key) == (FACTS, CODE)


def test_no_damaged_byte_goes_unseen(folder: Path) -> None:
    key = cache.key("source", machine())
    cache.store(key, CODE[:64], FACTS)
    entry = only(folder)
    sound = entry.read_bytes()
    for place in range(len(sound)):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        entry.write_bytes(damaged)
        assert cache.load(key) is None, place


def test_bytes_at_the_end_make_an_entry_unsound(folder: Path) -> None:
    key = cache.key("source", machine())
    cache.store(key, CODE)
    entry = only(folder)
    entry.write_bytes(entry.read_bytes() + b"\0")
    assert cache.load(key) is None


def test_an_entry_under_another_name_is_foreign(folder: Path) -> None:
    key, other = cache.key("source", machine()), cache.key("other", machine())
    cache.store(key, CODE)
    entry = only(folder)
    entry.rename(entry.with_name(other.hex() + entry.suffix))
    assert cache.load(other) is None


def test_a_folder_in_the_place_of_an_entry_is_no_entry(folder: Path) -> None:
    key = cache.key("source", machine())
    cache.store(key, CODE)
    entry = only(folder)
    entry.unlink()
    entry.mkdir()
    assert cache.load(key) is None
    cache.store(key, CODE)
    assert cache.load(key) is None
    assert only(folder) == entry  # and no half of an entry was left beside it


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "file"
    place.write_text("not a folder")
    monkeypatch.setenv("CHAINRULE_CACHE", str(place / "below"))
    key = cache.key("source", machine())
    cache.store(key, CODE)
    assert cache.load(key) is None


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHAINRULE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache.folder() == Path("/elsewhere/chainrule")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache.folder() == Path("/home/somebody/.cache/chainrule")


def test_what_was_used_longest_ago_goes_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [cache.key(str(i), machine()) for i in range(4)]
    for age, key in enumerate(keys[:3]):
        cache.store(key, CODE)
        os.utime(folder / (key.hex() + ".object"), (1e9 + age, 1e9 + age))
    assert cache.load(keys[0]) is not None  # which uses it
    monkeypatch.setattr(cache, "LIMIT", 3 * 2400)
    cache.store(keys[3], CODE)
    assert [cache.load(key) is not None for key in keys] == [True, False, True, True]


def test_a_library_survives_its_damaged_entry(folder: Path) -> None:
    program = """
import ctypes
from chainrule.compile import engine
text = "define i64 @f() {\\n  ret i64 42\\n}"
library = engine.compile_module(text, ["f"])
print(ctypes.CFUNCTYPE(ctypes.c_int64)(library.address("f"))())
"""
    for damage in (None, b"", b"foreign" * 100, None):
        if damage is not None:
            only(folder).write_bytes(damage)
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout == "42\n"
        assert only(folder).stat().st_size > 400
