"""What a step's input becomes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import each
from zeke_tasks.playbooks.flow import REFERENCE, BadReference, check_references, fill
from zeke_tasks.store.playbooks import Step

KNOWN: dict[str, Any] = {
    "steps": {
        "find": {"output": {"ids": ["a", "b"], "none": None, "": {"a": 1}}},
        "text": {"output": "words"},
    },
    "run": {"metadata": {"deep": {"er": [{"x": 5}]}}},
}

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: key != REFERENCE), inner),
)


@given(json)
def test_value_without_references_is_unchanged(value: Any) -> None:
    assert fill(value, KNOWN) == value


@each(
    ("steps.find.output.ids", ["a", "b"]),
    ("steps.find.output.ids.1", "b"),
    ("steps.find.output.none", None),
    ("steps.text.output", "words"),
    ("run.metadata.deep.er.0.x", 5),
)
def test_reference_is_replaced_by_value(path: str, value: Any) -> None:
    assert fill({"a": [{REFERENCE: path}], "b": 1}, KNOWN) == {"a": [value], "b": 1}


@each(
    ("steps.nobody.output", "names 'nobody', but steps has find, text"),
    ("steps.find.output.ids.2", "names '2', but steps.find.output.ids is a list of 2"),
    ("steps.find.output.ids.-1", "names '-1', but steps.find.output.ids is a list of 2"),
    ("steps.text.output.0", "names '0', but steps.text.output is str, which has no members"),
    ("stepz", "names 'stepz', but it has run, steps"),
    ("steps.find.output.ids." + "9" * 5000, "is a list of 2"),
    ("", "must be names with dots"),
    (".", "must be names with dots"),
    ("steps.find.output.", "must be names with dots"),
    ("steps.find.output..a", "must be names with dots"),
    (5, "must be names with dots"),
)
def test_unknown_reference_is_refused_with_known_names(path: Any, said: str) -> None:
    with pytest.raises(BadReference, match=said):
        fill({REFERENCE: path}, KNOWN)


def test_object_with_more_keys_is_not_a_reference() -> None:
    both = {REFERENCE: "steps.text.output", "more": 1}
    assert fill(both, KNOWN) == both


def _steps(**inputs: Any) -> list[Step]:
    """Steps of these names and inputs, in their order."""
    return [Step(name, "task", {"value": value}) for name, value in inputs.items()]


@each(
    "steps.first.output", "steps.first.output.ids.0", "steps", "run.id", "run.metadata.a.0", "run.triggeredBy"
)
def test_references_known_only_at_run_time_are_accepted(path: str) -> None:
    check_references(_steps(first=1, second=[{REFERENCE: path}]))


@each(
    ("steps.frist.output", "names 'frist', but steps has first"),
    ("steps.second.output.id", "names 'second', but steps has first; 'second' comes no earlier than"),
    ("steps.third.output.id", "names 'third', but steps has first; 'third' comes no earlier than"),
    ("steps.first.outputs", "names 'outputs', but steps.first has output"),
    ("run.metdata.id", "names 'metdata', but run has id, metadata, teamId, triggeredBy"),
    ("run.id.x", "run.id is str"),
    ("first.output", "names 'first', but it has run, steps"),
    (["steps"], "must be names with dots"),
    ("run.metadata..a", "as in steps.NAME.output.id, got 'run.metadata..a'"),
    ("steps.first.output.", "as in steps.NAME.output.id, got 'steps.first.output.'"),
    ("..", "as in steps.NAME.output.id, got '..'"),
)
def test_impossible_reference_is_refused_with_step(path: Any, said: str) -> None:
    steps = _steps(first=1, second={"deep": [{REFERENCE: path}]}, third=1)
    with pytest.raises(BadReference, match=f"step 'second': .*{re.escape(said)}"):
        check_references(steps)


@each("third.output", "run.third", "steps.first.third", "steps.fourth.output")
def test_order_is_mentioned_only_for_existing_steps(path: str) -> None:
    with pytest.raises(BadReference, match=r"names '(third|fourth)', but") as refused:
        check_references(_steps(first=1, second={REFERENCE: path}, third=1))
    assert "no earlier" not in str(refused.value)


def test_first_step_has_no_earlier_steps() -> None:
    with pytest.raises(BadReference, match="steps has nothing"):
        check_references(_steps(first={REFERENCE: "steps.first.output"}))
