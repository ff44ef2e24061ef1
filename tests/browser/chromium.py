"""The browser of the tests: the system's own Chromium, started so that it asks no questions."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = (
    "--no-sandbox",  # as root, and in containers, there is none
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


class NoBrowser(Exception):
    """There is no browser on this machine."""


def find() -> str:
    """Return where the browser is."""
    for name in NAMES:
        if (found := shutil.which(name)) is not None:
            return found
    raise NoBrowser(
        f"PATH: none of {', '.join(NAMES)} is there; install one, on Debian by: apt-get install chromium"
    )


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=find(), args=list(FLAGS))
