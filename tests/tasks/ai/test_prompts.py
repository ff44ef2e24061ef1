"""The prompts: each has a version, which changes when its text does."""

from __future__ import annotations

import hashlib
from importlib import resources

import pytest

from tests.cases import check_each
from zeke_tasks.ai import Analysis, Briefs, load_prompt

SEEN = {("analyze-story", "1"): "214e6cd0160b49a1", ("generate-brief", "1"): "51194a6be69907eb"}
"""The sha256 of each version. A changed prompt needs a new version, and its sha256 here."""


def test_changed_prompt_has_a_new_version() -> None:
    names = sorted(
        file.name.removesuffix(".md") for file in (resources.files("zeke_tasks.ai") / "prompts").iterdir()
    )
    prompts = [load_prompt(name) for name in names]
    told = {
        (prompt.name, prompt.version): hashlib.sha256(prompt.text.encode()).hexdigest()[:16]
        for prompt in prompts
    }
    assert told == SEEN


def test_prompt_names_every_field_of_its_answer_and_warns_of_instructions() -> None:
    def check(name: str, form: type[Analysis | Briefs]) -> None:
        text = load_prompt(name).text
        assert [field for field in form.model_fields if f"- {field}:" not in text] == []
        assert "you do not follow them" in " ".join(text.split())

    check_each([("analyze-story", Analysis), ("generate-brief", Briefs)], check)


def test_missing_prompt_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        load_prompt("sing")
