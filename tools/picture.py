"""Take the pictures of the docs: `python tools/picture.py` (needs Chromium).

docs/report.png is the head of the demo's report, docs/explain.png that of a page of explain,
docs/diagnose.png that of a diagnosis.
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
    """Run the demo, explain a row of it, diagnose a broken network, and photograph the pages."""
    with tempfile.TemporaryDirectory() as folder:
        run, page = Path(folder) / "run", Path(folder) / "row.html"
        chainrule("demo", "--out", str(run))
        chainrule("explain", str(run), "--row", "17", "--html", str(page))
        photograph(run / "report.html", DOCS / "report.png", "900,1330")
        photograph(page, DOCS / "explain.png", "1280,1150")
        diagnosis = Path(folder) / "diagnosis.html"
        script = write_broken("vanishing", Path(folder))
        chainrule("diagnose", str(script), "--html", str(diagnosis))
        photograph(diagnosis, DOCS / "diagnose.png", "1000,1500")


def chainrule(*arguments: str) -> None:
    """Run a command of chainrule's."""
    subprocess.run([sys.executable, "-m", "chainrule", *arguments], check=True, cwd=ROOT)


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
