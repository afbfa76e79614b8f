"""Take the pictures of the docs: `python tools/picture.py` (needs Chromium).

docs/report.png is the head of the demo's report, docs/explain.png that of a page of explain,
docs/diagnose.png that of a diagnosis, docs/interpret.png that of an interpretation.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from chainrule.cli.broken import write_broken

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def main() -> None:
    """Run the demo, explain and interpret rows of it, diagnose a broken network, and photograph
    the pages."""
    with tempfile.TemporaryDirectory() as folder:
        run, page = Path(folder) / "digits", Path(folder) / "row.html"
        chainrule("demo", "--out", run.name, inside=folder)
        chainrule("explain", run.name, "--row", "17", "--html", page.name, inside=folder)
        photograph(run / "report.html", DOCS / "report.png", "900,1330")
        photograph(page, DOCS / "explain.png", "1280,1150")
        chainrule("interpret", run.name, inside=folder)
        photograph(run / "interpretation.html", DOCS / "interpret.png", "1000,1500")
        diagnosis = Path(folder) / "diagnosis.html"
        script = write_broken("vanishing", Path(folder))
        chainrule("diagnose", script.name, "--html", diagnosis.name, inside=folder)
        photograph(diagnosis, DOCS / "diagnose.png", "1000,1500")


def chainrule(*arguments: str, inside: str) -> None:
    """Run a command of chainrule's in a folder, so that pages show short names."""
    subprocess.run([sys.executable, "-m", "chainrule", *arguments], check=True, cwd=inside)


def photograph(page: Path, picture: Path, size: str) -> None:
    """Draw a page in a window of a size (width,height), and keep what is seen."""
    browser = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    )
    subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--window-size={size}", f"--screenshot={picture}", f"file://{page}",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    print(f"wrote {picture.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
