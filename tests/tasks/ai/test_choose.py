"""Which AI the settings choose, and what somebody is told who sets one wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clocks import FrozenClock
from tests.tasks.ai.samples import ANALYSIS_TEXT, PROMPT, TEXT
from tests.tasks.ai.server import OpenAIServer, embeddings, response
from zeke_queue.errors import BadSetting, UsageError
from zeke_tasks.ai import AIRateLimited, AISettings, Analysis, Embedded, open_ai
from zeke_tasks.ai.choose import options_of
from zeke_tasks.ai.client import AIOptions
from zeke_tasks.ai.prices import load_prices
from zeke_tasks.context import inline, open_context

KEY = "sk-hunter2"


async def chosen(**settings: Any) -> tuple[str, str, list[str]]:
    """Who answered, who embedded, and what the server was asked."""
    async with OpenAIServer(response(ANALYSIS_TEXT), embeddings([1.0])) as server:
        if settings.get("zeke_embeddings") == "openai" and settings.get("zeke_ai") == "stub":
            server.will_say(embeddings([1.0]))
        read = AISettings.load(openai_base_url=server.base_url, **settings)
        async with open_ai(read, FrozenClock(), compute=inline) as ai:
            answer = await ai.ask(PROMPT, TEXT, Analysis)
            embedded: Embedded = await ai.embed([TEXT])
        return answer.usage.model, embedded.model, [asked.path for asked in server.asked]


OPENAI, SMALL, WORDS = "gpt-5-nano-2025-08-07", "text-embedding-3-small", "wordllama-l2-supercat-256"


@pytest.mark.parametrize(
    ("given", "answers", "embeds"),
    [
        ({}, "stub", "stub"),
        ({"openai_api_key": KEY}, OPENAI, SMALL),
        ({"zeke_ai": "openai", "openai_api_key": KEY}, OPENAI, SMALL),
        ({"zeke_ai": "stub", "openai_api_key": KEY}, "stub", "stub"),
        ({"zeke_ai": "stub", "zeke_embeddings": "openai", "openai_api_key": KEY}, "stub", SMALL),
        ({"zeke_embeddings": "stub", "openai_api_key": KEY}, OPENAI, "stub"),
        ({"zeke_embeddings": "wordllama", "openai_api_key": KEY}, OPENAI, WORDS),
        ({"zeke_embeddings": "wordllama"}, "stub", WORDS),
    ],
)
async def test_the_settings_say_who_answers_and_who_embeds(
    given: dict[str, Any], answers: str, embeds: str
) -> None:
    said, embedded, asked = await chosen(**given)
    assert (said, embedded) == (answers, embeds)
    expected = {OPENAI: ["/v1/responses"]}.get(answers, []) + {SMALL: ["/v1/embeddings"]}.get(embeds, [])
    assert asked == expected


@pytest.mark.parametrize(
    ("given", "variable"),
    [({"zeke_ai": "openai"}, "ZEKE_AI"), ({"zeke_embeddings": "openai"}, "ZEKE_EMBEDDINGS")],
)
async def test_openai_without_a_key_is_refused_with_what_to_set(given: dict[str, Any], variable: str) -> None:
    with pytest.raises(UsageError, match=rf"OPENAI_API_KEY is not set, and {variable}=openai needs it"):
        async with open_ai(AISettings.load(**given), FrozenClock()):
            pytest.fail("it was opened")


@pytest.mark.parametrize("variable", ["ZEKE_AI", "ZEKE_EMBEDDINGS"])
async def test_no_worker_starts_that_would_ask_openai_without_a_key(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv(variable, "openai")
    with pytest.raises(BadSetting, match=rf"OPENAI_API_KEY is not set, and {variable}=openai needs it"):
        async with open_context():
            pytest.fail("it was opened")


def test_the_settings_are_environment_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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


def test_what_is_not_set_is_as_the_options_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    settings = AISettings.load()
    assert options_of(settings) == AIOptions()
    assert (settings.asks, settings.embeds) == ("stub", "stub")


@pytest.mark.parametrize(
    ("variable", "value", "hint"),
    [
        ("ZEKE_AI", "claude", "'auto', 'openai' or 'stub'"),
        ("ZEKE_EMBEDDINGS", "numpy", "'wordllama'"),
        ("OPENAI_BASE_URL", "localhost:11434", "https://api.openai.com/v1"),
        ("OPENAI_BASE_URL", "file:///etc/passwd", "https://api.openai.com/v1"),
        ("ZEKE_AI_TIMEOUT", "0", "greater than 0"),
        ("ZEKE_AI_PER_MINUTE", "0", "greater than or equal to 1"),
        ("ZEKE_AI_AT_ONCE", "many", "integer"),
        ("OPENAI_API_KEY", "hunter2 \u00e4", "no key has"),
        ("OPENAI_API_KEY", "sk-1\nhunter2: x", "no key has"),
    ],
)
def test_a_bad_value_is_said_by_its_variable_and_a_key_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, hint: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadSetting) as caught:
        AISettings.load()
    assert variable in str(caught.value)
    assert hint in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_key_is_never_shown() -> None:
    settings = AISettings.load(openai_api_key=KEY)
    assert KEY not in repr(settings) + str(settings) + str(settings.model_dump())


def test_a_setting_that_does_not_exist_is_refused_in_code() -> None:
    with pytest.raises(BadSetting, match=r"ZEKE_IA is no setting; there are ZEKE_AI"):
        AISettings.load(zeke_ia="stub")


async def test_openai_is_asked_within_the_limit_of_the_settings() -> None:
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


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "can't be read"),
        ("{", "Invalid JSON"),
        ('{"models": {"llama": {}}}', "models.llama.input: Field required"),
        ('{"models": {"llama": {"input": -1}}}', "greater than or equal to 0"),
        ('{"models": {"llama": {"input": 1, "outptu": 2}}}', "models.llama.outptu"),
    ],
)
async def test_prices_that_can_not_be_read_are_told_before_anything_is_opened(
    tmp_path: Path, content: str | None, complaint: str
) -> None:
    file = tmp_path / "prices.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    settings = AISettings.load(openai_api_key=KEY, zeke_ai_prices=file)
    with pytest.raises(BadSetting, match=rf"ZEKE_AI_PRICES: .*prices\.json .*{complaint}"):
        async with open_ai(settings, FrozenClock()):
            pytest.fail("it was opened")


def test_prices_of_ones_own_come_on_top_of_the_list(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    own = {"models": {"gpt-5-nano": {"input": 9}, "llama": {"input": 1, "output": 2}}}
    file.write_text(json.dumps(own), encoding="utf-8")
    prices = load_prices(file)
    assert prices["gpt-5-nano"].input == 9
    assert prices["llama"].output == 2
    assert prices["text-embedding-3-small"] == load_prices()["text-embedding-3-small"]


def test_the_sdk_is_not_imported_where_no_ai_is_asked() -> None:
    code = (
        "import asyncio, sys\n"
        "from zeke_queue import SystemClock\n"
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
