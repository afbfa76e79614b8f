"""Take the README's picture, the report of the demo: `python tools/picture.py` (needs Chromium)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "report.png"


def main() -> None:
    """Run the demo and photograph the head of its report."""
    browser = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        demo = [sys.executable, "-m", "chainrule", "demo", "--out", str(run)]
        subprocess.run(demo, check=True, cwd=ROOT)
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--window-size=900,1330", f"--screenshot={PICTURE}", f"file://{run}/report.html",
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
    print(f"wrote {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
