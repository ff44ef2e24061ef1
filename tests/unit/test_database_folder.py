"""Where the tests' own server keeps its databases."""

from __future__ import annotations

import shutil
import tempfile
from types import SimpleNamespace
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.database import folder_of

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in memory, of which there is plenty."""
    monkeypatch.delenv("TMPDIR", raising=False)
    made = tmp_path / "shm"
    made.mkdir()
    room(monkeypatch)
    return made


def room(monkeypatch: pytest.MonkeyPatch, *, folder: int = 8 * GIB, machine: int = 8 * GIB) -> None:
    """Provide a number of bytes."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=folder))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=machine))


def test_folder_is_in_memory_if_there_is_room(memory: Path) -> None:
    assert folder_of("zeke-x", memory) == memory / "zeke-x"


@pytest.mark.parametrize("little", [{"folder": 64 << 20}, {"machine": GIB}])
def test_folder_is_on_disk_if_there_is_little_memory(
    memory: Path, monkeypatch: pytest.MonkeyPatch, little: dict[str, int]
) -> None:
    room(monkeypatch, **little)
    assert folder_of("zeke-x", memory).parent != memory
    (memory / "zeke-x").mkdir()  # of another process of the same run, which came while there was room
    assert folder_of("zeke-x", memory) == memory / "zeke-x"


def test_folder_stays_on_disk_during_a_run(
    memory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "zeke-x").mkdir()
    assert folder_of("zeke-x", memory) == tmp_path / "zeke-x"


def test_folder_is_on_disk_without_shared_memory_or_by_setting(
    memory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert folder_of("zeke-x", tmp_path / "none").parent != tmp_path / "none"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert folder_of("zeke-x", memory).parent != memory
