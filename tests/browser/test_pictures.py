"""The pictures of the documentation can be taken again, and those that it shows are among them."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.tidy import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_every_screenshot_of_the_documentation_can_be_taken_again(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "tests.browser.pictures", str(tmp_path)], cwd=ROOT, check=True)
    pages = (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    shown = {name for page in pages for name in re.findall(r"images/([a-z-]+\.png)\)", page.read_text())}
    assert shown
    assert {path.name for path in tmp_path.iterdir()} == shown
    assert {path.name for path in (ROOT / "docs/images").iterdir()} == shown
