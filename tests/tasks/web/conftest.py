"""Where real feeds and pages are, if this machine has any; without them their tests are not collected.

They belong to their publishers, so they are no part of the project: a folder with ``feeds`` and ``pages``,
named by ``ZEKE_TEST_DATA`` or beside the project.
"""

from __future__ import annotations

import os
from pathlib import Path

BESIDE = Path(__file__).parents[3].parent / "shared" / "data"
DATA = Path(os.environ.get("ZEKE_TEST_DATA") or BESIDE)

collect_ignore = [] if (DATA / "feeds").is_dir() and (DATA / "pages").is_dir() else ["test_real_input.py"]
