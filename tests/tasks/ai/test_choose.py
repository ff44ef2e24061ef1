"""The choice of the AI by settings, and the errors of invalid ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cases import check_each, check_each_async
from tests.clocks import FrozenClock
from tests.tasks.ai.samples import ANALYSIS_TEXT, PROMPT, TEXT
from tests.tasks.ai.server import OpenAIServer, embeddings, response
from zeke_queue.errors import SettingsError, UsageError
from zeke_tasks.ai import AIRateLimited, AISettings, Analysis, Embedded, open_ai
from zeke_tasks.ai.choose import options_of
from zeke_tasks.ai.client import AIOptions
from zeke_tasks.ai.prices import load_prices
from zeke_tasks.context import inline, open_context

KEY = "sk-hunter2"


async def chosen(**settings: Any) -> tuple[str, str, list[str]]:
    async with OpenAIServer(response(ANALYSIS_TEXT), embeddings([1.0])) as server:
        if settings.get("zeke_embeddings") == "openai" and settings.get("zeke_ai") == "stub":
            server.will_say(embeddings([1.0]))
        read = AISettings.load(openai_base_url=server.base_url, **settings)
        async with open_ai(read, FrozenClock(), compute=inline) as ai:
            answer = await ai.ask(PROMPT, TEXT, Analysis)
            embedded: Embedded = await ai.embed([TEXT])
        return answer.usage.model, embedded.model, [asked.path for asked in server.asked]


OPENAI, SMALL, WORDS = "gpt-5-nano-2025-08-07", "text-embedding-3-small", "wordllama-l2-supercat-256"


async def test_settings_choose_the_clients_for_answers_and_embeddings() -> None:
    async def check(given: dict[str, Any], answers: str, embeds: str) -> None:
        paths = {OPENAI: ["/v1/responses"]}.get(answers, []) + {SMALL: ["/v1/embeddings"]}.get(embeds, [])
        assert await chosen(**given) == (answers, embeds, paths)

    key = {"openai_api_key": KEY}
    cases = [
        ({}, "stub", "stub"),
        (key, OPENAI, SMALL),
        ({"zeke_ai": "openai", **key}, OPENAI, SMALL),
        ({"zeke_ai": "stub", **key}, "stub", "stub"),
        ({"zeke_ai": "stub", "zeke_embeddings": "openai", **key}, "stub", SMALL),
        ({"zeke_embeddings": "stub", **key}, OPENAI, "stub"),
        ({"zeke_embeddings": "wordllama", **key}, OPENAI, WORDS),
        ({"zeke_embeddings": "wordllama"}, "stub", WORDS),
    ]
    await check_each_async(cases, check)


async def test_openai_without_a_key_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def check(variable: str) -> None:
        reason = rf"OPENAI_API_KEY is not set, and {variable}=openai needs it"
        with pytest.raises(UsageError, match=reason):
            async with open_ai(AISettings.load(**{variable.lower(): "openai"}), FrozenClock()):
                pytest.fail("it was opened")
        with monkeypatch.context() as environment:
            environment.setenv(variable, "openai")
            with pytest.raises(SettingsError, match=reason):
                async with open_context():
                    pytest.fail("it was opened")

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    await check_each_async(["ZEKE_AI", "ZEKE_EMBEDDINGS"], check)


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text('{"models": {"llama": {"input": 1}}}', encoding="utf-8")
    for name, value in {
        "ZEKE_AI": "OpenAI",
        "ZEKE_EMBEDDINGS": "stub",
        "OPENAI_API_KEY": f" {KEY}\n",
        "OPENAI_BASE_URL": "http://127.0.0.1:11434/v1",
        "OPENAI_MODEL": "llama",
        "OPENAI_EMBEDDING_MODEL": "nomic",
        "ZEKE_AI_TIMEOUT": "5",
        "ZEKE_AI_PER_MINUTE": "7",
        "ZEKE_AI_AT_ONCE": "2",
        "ZEKE_AI_PRICES": str(prices),
    }.items():
        monkeypatch.setenv(name, value)
    settings = AISettings.load()
    assert (settings.asks, settings.embeds, settings.require_key()) == ("openai", "stub", KEY)
    options = options_of(settings)
    assert options.prices["llama"].input == 1
    assert options == AIOptions(
        model="llama",
        embedding_model="nomic",
        base_url="http://127.0.0.1:11434/v1",
        timeout=5,
        requests_per_minute=7,
        at_once=2,
        prices=options.prices,
    )


def test_defaults_are_those_of_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    settings = AISettings.load()
    assert options_of(settings) == AIOptions()
    assert (settings.asks, settings.embeds) == ("stub", "stub")


WITH_PASSWORD = (
    "https://bee:hunter2@a.example/v1",
    "http://hunter2@a.example",
    "https://:hunter2@a.example/v1",
    "HTTPS://bee:hunter2@[2001:db8::1]:8080/v1",
    "https://a.example\\@hunter2/v1",
)


def test_invalid_value_is_refused_by_its_variable_without_repeating_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check(variable: str, value: str, hint: str) -> None:
        with monkeypatch.context() as environment:
            environment.setenv(variable, value)
            with pytest.raises(SettingsError) as caught:
                AISettings.load()
        assert variable in str(caught.value)
        assert hint in str(caught.value)
        assert "hunter2" not in str(caught.value)

    cases = [
        ("ZEKE_AI", "claude", "'auto', 'openai' or 'stub'"),
        ("ZEKE_EMBEDDINGS", "numpy", "'wordllama'"),
        ("OPENAI_BASE_URL", "localhost:11434", "https://api.openai.com/v1"),
        ("OPENAI_BASE_URL", "file:///etc/passwd", "https://api.openai.com/v1"),
        ("ZEKE_AI_TIMEOUT", "0", "greater than 0"),
        ("ZEKE_AI_PER_MINUTE", "0", "greater than or equal to 1"),
        ("ZEKE_AI_AT_ONCE", "many", "integer"),
        ("OPENAI_API_KEY", "hunter2 \u00e4", "must not contain spaces"),
        ("OPENAI_API_KEY", "sk-1\nhunter2: x", "must not contain spaces"),
        *(("OPENAI_BASE_URL", url, "OPENAI_API_KEY") for url in WITH_PASSWORD),
        *(("OPENAI_BASE_URL", url, "must be a URL such as") for url in ("http://[::1/v1", "http:///v1")),
        ("OPENAI_BASE_URL", "http://a.example:http/v1", "must be a URL such as"),
    ]
    check_each(cases, check)
    # An at sign is no password elsewhere.
    for url in ("https://a.example/v1/@bees", "http://[::1]:11434/v1?to=a@b"):
        assert AISettings.load(openai_base_url=url).openai_base_url == url


def test_key_is_not_shown() -> None:
    settings = AISettings.load(openai_api_key=KEY)
    assert KEY not in repr(settings) + str(settings) + str(settings.model_dump())


def test_unknown_setting_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"ZEKE_IA: must be one of the settings ZEKE_AI"):
        AISettings.load(zeke_ia="stub")


async def test_rate_limit_of_the_settings_is_kept() -> None:
    async with OpenAIServer(embeddings([1.0])) as server:
        settings = AISettings.load(
            openai_api_key=KEY, openai_base_url=server.base_url, zeke_ai_per_minute=1, zeke_ai_at_once=1
        )
        async with open_ai(settings, FrozenClock()) as ai:
            await ai.embed([TEXT])
            with pytest.raises(AIRateLimited) as caught:
                await ai.embed([TEXT])
        assert caught.value.retry_after == 60.0
        assert len(server.asked) == 1


async def test_invalid_prices_are_refused_before_anything_starts(tmp_path: Path) -> None:
    async def check(content: str | None, complaint: str) -> None:
        file = tmp_path / "prices.json"
        if content is not None:
            file.write_text(content, encoding="utf-8")
        settings = AISettings.load(openai_api_key=KEY, zeke_ai_prices=file)
        with pytest.raises(SettingsError, match=rf"ZEKE_AI_PRICES: .*prices\.json.*{complaint}"):
            async with open_ai(settings, FrozenClock()):
                pytest.fail("it was opened")

    cases = [
        (None, "can't be read"),
        ("{", "Invalid JSON"),
        ('{"models": {"llama": {}}}', "models.llama.input: Field required"),
        ('{"models": {"llama": {"input": -1}}}', "greater than or equal to 0"),
        ('{"models": {"llama": {"input": 1, "outptu": 2}}}', "models.llama.outptu"),
    ]
    await check_each_async(cases, check)


def test_own_prices_extend_the_list(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    own = {"models": {"gpt-5-nano": {"input": 9}, "llama": {"input": 1, "output": 2}}}
    file.write_text(json.dumps(own), encoding="utf-8")
    prices = load_prices(file)
    assert prices["gpt-5-nano"].input == 9
    assert prices["llama"].output == 2
    assert prices["text-embedding-3-small"] == load_prices()["text-embedding-3-small"]


def test_sdk_is_not_imported_for_the_stub() -> None:
    code = (
        "import asyncio, sys\n"
        "from zeke_queue.system.clock import SystemClock\n"
        "from zeke_tasks.ai import AISettings, open_ai\n"
        "async def main():\n"
        "    async with open_ai(AISettings.load(zeke_ai='stub'), SystemClock()): pass\n"
        "asyncio.run(main())\n"
        "print([name for name in ('openai', 'wordllama', 'numpy') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


PATIENCE = 120
"""Seconds after which a process that should have ended never will."""


def test_worker_without_the_key_that_it_needs_does_not_start(dsn: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zeke_queue.cli", "worker", "--app", "zeke_tasks.catalog:catalog"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env={
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DATABASE_PRIMARY_URL": dsn,
            "ZEKE_AI": "openai",
        },
    )
    assert done.returncode == 2, done.stderr
    reason = "zeke: OPENAI_API_KEY is not set, and ZEKE_AI=openai needs it"
    assert done.stderr.splitlines()[-1].startswith(reason)
    assert "Traceback" not in done.stderr
