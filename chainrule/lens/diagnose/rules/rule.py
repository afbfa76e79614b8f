"""What a rule is, and where rules are found."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from chainrule.errors import DataError

if TYPE_CHECKING:
    from chainrule.lens.diagnose.case import Case
    from chainrule.lens.diagnose.finding import Finding

STAGES = ("static", "live", "deep")
_known: dict[tuple[str, str], type[Rule]] = {}


class Rule:
    """Something that can be wrong, and how it is seen. A subclass with a `name` is known from the
    moment that it is defined; those of the library stand in this package, one in a file. Rules of
    different stages may have one name: `non-finite` is seen before training, or during it.

    Attributes:
        name: stable, such as `dead-units`.
        stage: "static" looks at one pass before training (milliseconds), "live" at the trace of
            the run, "deep" measures more.
        looks_at: what it looks at, in a few words, for the report of a healthy run.
    """

    name: ClassVar[str] = ""
    stage: ClassVar[str] = "live"
    looks_at: ClassVar[str] = ""

    def __init_subclass__(cls, **rest: object) -> None:
        super().__init_subclass__(**rest)
        if cls.name:
            _known[cls.name, cls.stage] = cls

    def look(self, case: Case) -> Iterable[Finding]:
        """The findings in this case: none where all is well, or where what it needs is missing."""
        raise NotImplementedError


def rules(stage: str | None = None) -> list[type[Rule]]:
    """Every rule, by name; those of the library are imported the first time."""
    _import_all()
    return [rule for _, rule in sorted(_known.items()) if stage in (None, rule.stage)]


@cache
def _import_all() -> None:
    package = importlib.import_module("chainrule.lens.diagnose.rules")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def load_rules(wanted: Iterable[type[Rule] | str | Path]) -> None:
    """Make rules known: classes are by themselves, files are run.

    Raises:
        DataError: a file that is not there, does not run, or defines no rule.
    """
    for each in wanted:
        if isinstance(each, type) and issubclass(each, Rule) and each.name:
            continue
        if not isinstance(each, str | Path):
            raise DataError(
                f"{each!r} is no rule: it is a class that derives from chainrule.lens.diagnose.Rule"
                " and has a `name`, or a file that defines one"
            )
        path, before = Path(each), dict(_known)
        spec = importlib.util.spec_from_file_location(f"rules_of_{path.stem}", path)
        if spec is None or spec.loader is None or not path.is_file():
            raise DataError(f"there is no file of rules {path}; it ends in .py")
        try:
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        except Exception as error:
            raise DataError(
                f"the rules in {path} do not run: {type(error).__name__}: {error}"
            ) from error
        if _known == before:
            raise DataError(
                f"{path} defines no rule: write a class that derives from "
                "chainrule.lens.diagnose.Rule and has a `name`"
            )
