"""A scripted AI returns configured answers, and by default answers that follow from the text."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from tests.cases import check_each_async
from zeke_tasks.ai import AIMalformed, AIRateLimited, AIRefused, AIRejected, Analysis, Briefs, Prompt
from zeke_tasks.briefs.variants import fit
from zeke_tasks.testing.ai import DIMENSIONS, EMBED, ScriptedAI

ANALYZE = Prompt("analyze-story", "1", "Say why it matters.")
BRIEF = Prompt("generate-brief", "1", "Be brief.")
BEES = "Bees dance. The dance shows where flowers are. A new benchmark is faster."


@pytest.fixture
def ai() -> ScriptedAI:
    return ScriptedAI()


async def test_default_answers_follow_from_the_text(ai: ScriptedAI) -> None:
    one, same = await ai.ask(ANALYZE, BEES, Analysis), await ScriptedAI().ask(ANALYZE, BEES, Analysis)
    other = await ai.ask(ANALYZE, "Wasps sting.", Analysis)
    assert one == same
    assert one.value != other.value
    assert not one.stub
    assert one.usage.model == "scripted"


async def test_briefs_are_usable_for_any_text() -> None:
    async def check(text: str) -> None:
        ai = ScriptedAI()
        said = (await ai.ask(BRIEF, text, Briefs)).value
        fitted = fit(said.by_name())
        assert fitted.reasons == {}
        assert fitted.valid["one_liner"].startswith("Bees")

    await check_each_async([BEES, "Bees", "Bees dance"], check)


async def test_vectors_follow_from_the_texts(ai: ScriptedAI) -> None:
    embedded = await ai.embed([BEES, "Wasps", BEES])
    assert embedded.dimensions == DIMENSIONS
    assert embedded.vectors[0] == embedded.vectors[2] != embedded.vectors[1]
    assert ai.calls(EMBED) == [BEES, "Wasps", BEES]


async def test_answers_are_used_in_order_and_the_last_repeats(ai: ScriptedAI) -> None:
    fields = {"why_it_matters": ["It does."], "chili": 3, "confidence": 0.5}
    ai.put("analyze-story", AIRateLimited(30), fields, Analysis.model_validate({**fields, "chili": 5}))
    with pytest.raises(AIRateLimited):
        await ai.ask(ANALYZE, BEES, Analysis)
    assert [(await ai.ask(ANALYZE, BEES, Analysis)).value.chili for _ in range(3)] == [3, 5, 5]
    assert ai.calls("analyze-story") == [BEES] * 4


async def test_none_means_the_default_answer(ai: ScriptedAI) -> None:
    by_itself = await ai.ask(ANALYZE, BEES, Analysis)
    ai.put("analyze-story", AIRefused("no"), None)
    with pytest.raises(AIRefused):
        await ai.ask(ANALYZE, BEES, Analysis)
    assert await ai.ask(ANALYZE, BEES, Analysis) == by_itself


async def test_answer_may_be_for_some_texts(ai: ScriptedAI) -> None:
    ai.put(EMBED, (1.0, 0.0))
    ai.put(EMBED, AIRefused("no"), (0.0, 1.0), about="Wasps")
    assert (await ai.embed([BEES])).vectors == ((1.0, 0.0),)
    with pytest.raises(AIRefused):
        await ai.embed(["Wasps sting."])
    assert (await ai.embed(["Wasps sting.", BEES])).vectors == ((0.0, 1.0), (1.0, 0.0))


async def test_function_answers_by_the_text(ai: ScriptedAI) -> None:
    ai.put(EMBED, lambda text: (float(len(text)),))
    assert (await ai.embed(["four"])).vectors == ((4.0,),)


async def test_unfit_fields_are_malformed(ai: ScriptedAI) -> None:
    ai.put("analyze-story", {"chili": 3})
    with pytest.raises(AIMalformed):
        await ai.ask(ANALYZE, BEES, Analysis)


async def test_empty_text_is_rejected(ai: ScriptedAI) -> None:
    with pytest.raises(AIRejected):
        await ai.ask(ANALYZE, " ", Analysis)


async def test_unknown_form_needs_an_answer(ai: ScriptedAI) -> None:
    class Verdict(BaseModel):
        good: bool

    with pytest.raises(TypeError, match=r"put\('judge', …\)"):
        await ai.ask(Prompt("judge", "1", "Judge."), BEES, Verdict)
    ai.put("judge", {"good": True})
    assert (await ai.ask(Prompt("judge", "1", "Judge."), BEES, Verdict)).value == Verdict(good=True)


async def test_invalid_answer_is_reported(ai: ScriptedAI) -> None:
    ai.put("analyze-story", (1.0,))
    ai.put(EMBED, {"chili": 3})
    with pytest.raises(TypeError, match="put a Analysis"):
        await ai.ask(ANALYZE, BEES, Analysis)
    with pytest.raises(TypeError, match="put numbers"):
        await ai.embed([BEES])
