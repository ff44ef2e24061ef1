"""Offline embeddings: close for similar texts, deterministic, without a network, and off the loop."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.cases import check_each_async
from zeke_queue.errors import SettingsError
from zeke_tasks.ai import AIRejected, AIUnavailable, Usage
from zeke_tasks.ai.wordllama import WordLlama, embed_words
from zeke_tasks.context import inline
from zeke_tasks.fetch.parser_pool import ReaderKilled, Readers, Unreadable

TEXTS = ["The database answers slowly.", "Postgres queries take long.", "A recipe for apple pie."]


async def test_related_texts_are_nearer_than_others() -> None:
    embedded = await WordLlama().embed(TEXTS)
    first, second, other = embedded.vectors
    assert _cosine(first, second) > _cosine(first, other) + 0.1
    assert (embedded.model, embedded.dimensions) == ("wordllama-l2-supercat-256", 256)
    assert embedded.usage == Usage("wordllama-l2-supercat-256", 0, 0, 0.0)
    assert not embedded.stub


def _cosine(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_embedding_in_reader_processes() -> None:
    async with Readers(most=1) as readers:
        embedded = await WordLlama(readers).embed(TEXTS)
    assert embedded.vectors == tuple(embed_words(TEXTS))


OFFLINE = """
import socket, sys

def refuse(*args, **options):
    raise AssertionError(f"the network is touched: {args}")

for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = refuse
sys.addaudithook(lambda event, args: refuse(event, args) if event.startswith("socket.") else None)

import logging
from zeke_tasks.ai.wordllama import embed_words

(vector,) = embed_words(["A text"])
assert len(vector) == 256
assert not logging.getLogger().handlers, "the library has set up logging"
assert logging.getLogger().level == logging.WARNING
print("done")
"""


def test_loading_needs_no_network_and_leaves_logging_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert list(tmp_path.iterdir()) == [], "nothing is downloaded"


async def test_process_failures_are_ai_errors() -> None:
    async def check(met: Exception, expected: type[Exception]) -> None:
        async def compute(function: Callable[..., Any], /, *args: Any, **options: Any) -> NoReturn:
            raise met

        with pytest.raises(expected, match=str(met)):
            await WordLlama(compute).embed(TEXTS)

    cases = [(Unreadable("it takes too long"), AIRejected), (ReaderKilled("killed"), AIUnavailable)]
    await check_each_async(cases, check)


async def test_embedding_runs_outside_of_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def embed(texts: list[str]) -> list[tuple[float, ...]]:
        threads.append(threading.current_thread().name)
        return [(1.0,) for _ in texts]

    monkeypatch.setattr("zeke_tasks.ai.wordllama.embed_words", embed)
    await WordLlama().embed(TEXTS)
    await WordLlama(inline).embed(TEXTS)
    assert threads[0] != threading.current_thread().name
    assert threads[1] == threading.current_thread().name


def test_vector_of_a_text_without_words() -> None:
    (vector,) = embed_words(["\u200b"])
    assert _cosine(vector, vector) == pytest.approx(1.0 if any(vector) else 0.0)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> NoReturn:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("zeke_tasks.ai.wordllama.version", version)
    with pytest.raises(SettingsError, match="the extra `wordllama`"):
        WordLlama()
