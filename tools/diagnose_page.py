"""Write the table of rules in docs/diagnose.md: `make docs-diagnose`.

What lies between `<!-- rules -->` and `<!-- /rules -->` is made from the rules themselves: their
names, what they look at, and the first paragraph of their docstrings.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PAGE = ROOT / "docs" / "diagnose.md"
MADE = re.compile(r"(<!-- rules -->\n).*?(<!-- /rules -->)", re.DOTALL)

WHEN = {"static": "before the first step", "live": "in the run", "deep": "afterwards"}


def table() -> str:
    """The rules of the library, as a table in Markdown."""
    from chainrule.lens.diagnose.rules.rule import rules

    own = [rule for rule in rules() if rule.__module__.startswith("chainrule.")]
    rows = []
    for rule in sorted(own, key=lambda rule: (rule.name, list(WHEN).index(rule.stage))):
        said = inspect.getdoc(rule) or ""
        what = " ".join(said.split("\n\n")[0].split()).replace("|", "\\|")
        looks = rule.looks_at.replace("|", "\\|")
        rows.append(f"| `{rule.name}` | {looks}, {WHEN[rule.stage]} | {what} |")
    head = "| rule | what it looks at, and when | what is behind it |\n|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def written(page: str) -> str:
    """The page with its table made anew."""
    return MADE.sub(lambda found: f"{found[1]}\n{table()}\n{found[2]}", page)


def main() -> None:
    """Write the page."""
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
