"""Where something happened in the user's own code: source places and module paths.

A place is kept as a code object and an instruction offset, which cost nothing to take, and is
turned into a file and a line only when somebody asks. Frames of this library are skipped, so that
an error in a layer points at the user's line and not at ours.
"""

from __future__ import annotations

import os
import sys
from types import CodeType, FrameType

Place = tuple[CodeType, int]

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
# Ids of this library's code objects seen so far. They live as long as the library does, so an id
# cannot be given to another object.
_own: set[int] = set()


def user_place(depth: int = 1) -> Place | None:
    """The innermost frame outside of the library, as (code, instruction offset)."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        code = frame.f_code
        if id(code) not in _own:
            if not code.co_filename.startswith(_PACKAGE):
                return code, frame.f_lasti
            _own.add(id(code))
        frame = frame.f_back
    return None


def file_and_line(place: Place) -> tuple[str, int]:
    """(file name, line number) of a place."""
    code, offset = place
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= offset < end and number is not None:
            line = number
    return code.co_filename, line


def show(place: Place | None) -> str:
    """`train.py:31`, or an empty string where the place is not known."""
    if place is None:
        return ""
    name, line = file_and_line(place)
    return f"{os.path.basename(name)}:{line}"


class Scope:
    """A module that is being called, inside the call of another: the path to an operation.

    `module` needs only `named_modules()`, which yields (dotted name, module) pairs.
    """

    __slots__ = ("_path", "module", "parent")

    def __init__(self, module: object, parent: Scope | None) -> None:
        self.module = module
        self.parent = parent
        self._path: str | None = None

    def path(self) -> str:
        """The dotted name from the outermost module being called, such as `encoder.0.fc1`; as it
        was when it was asked for first."""
        if self._path is None:
            self._path = self._find()
        return self._path

    def _find(self) -> str:
        if self.parent is None:
            return ""
        outer, name = self.parent.path(), ""
        for candidate, module in self.parent.module.named_modules():  # type: ignore[attr-defined]
            if module is self.module and candidate:
                name = candidate
                break
        return f"{outer}.{name}" if outer and name else outer or name

    def describe(self) -> str:
        """The path, or the class of the outermost module where the path is empty."""
        return self.path() or type(self.module).__name__
