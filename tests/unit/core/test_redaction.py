"""Hidden values: rules, and values with their secrets taken out."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each
from tests.unit.tables import check_refused
from zeke_queue.core.redaction import MISSING_MAX, REDACTED, check_rules, redact, restored
from zeke_queue.errors import InvalidOptionError

CARD = {
    "card": {"number": "4111", "holder": "ada"},
    "items": [{"token": "a", "n": 1}, {"token": "b"}],
    "n": 1,
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
)


def test_rule_hides_the_value_at_its_path() -> None:
    def check(rule: str, value: Any) -> None:
        before = repr(CARD)
        assert redact(CARD, check_rules([rule]), "payload") == value
        assert repr(CARD) == before

    check_each(
        [
            ("payload", REDACTED),
            ("payload.card", {**CARD, "card": REDACTED}),
            ("payload.card.number", {**CARD, "card": {"number": REDACTED, "holder": "ada"}}),
            ("payload.items.*.token", {**CARD, "items": [{"token": REDACTED, "n": 1}, {"token": REDACTED}]}),
            ("payload.items.0", {**CARD, "items": [REDACTED, {"token": "b"}]}),
            ("payload.*", {"card": REDACTED, "items": REDACTED, "n": REDACTED}),
            ("payload.missing", CARD),
            ("payload.n.deeper", CARD),
            ("output.card", CARD),
        ],
        check,
    )


def test_error_is_redacted_where_the_output_is() -> None:
    error = {"type": "ValueError", "message": "4111"}
    assert redact(error, ("output",), "error") == REDACTED
    assert redact(error, ("error",), "error") == REDACTED
    assert redact(error, ("output.message",), "error") == error


def test_none_is_not_redacted() -> None:
    assert redact(None, ("payload",), "payload") is None


@given(json_values, st.lists(st.sampled_from(["a", "b", "c", "*", "0"]), min_size=1, max_size=3))
def test_value_at_a_redacted_path_is_never_shown(value: Any, path: list[str]) -> None:
    rules = check_rules([".".join(["payload", *path])])
    assert all(found in (None, REDACTED) for found in led_to(redact(value, rules, "payload"), path))


def led_to(value: Any, path: list[str]) -> list[Any]:
    """Walk a path by hand, to everything that it leads to."""
    found = [value]
    for part in path:
        nexts: list[Any] = []
        for one in found:
            if isinstance(one, dict):
                nexts += [member for name, member in one.items() if part in ("*", name)]
            elif isinstance(one, list):
                nexts += [item for place, item in enumerate(one) if part in ("*", str(place))]
        found = nexts
    return found


def test_invalid_rule_is_rejected() -> None:
    check_refused(
        check_rules,
        InvalidOptionError,
        ["payload", ["password"], ["payload."], ["payload..x"], [""], [7], ["error.message"], ["log.x"], 7],
        "redact",
    )


paths = st.lists(st.sampled_from(["a", "b", "c", "*", "0"]), max_size=3)


@given(json_values, st.lists(paths, max_size=3))
def test_restored_value_equals_the_original(value: Any, hidden: list[list[str]]) -> None:
    rules = check_rules([".".join(["payload", *path]) for path in hidden])
    assert restored(redact(value, rules, "payload"), value, rules, "payload") == (value, [])


def test_placeholder_is_replaced_only_by_the_kept_value_at_its_path() -> None:
    def check(given_: Any, kept: Any, value: Any, missing: list[str]) -> None:
        assert restored(given_, kept, ("payload.b", "payload.c.*"), "payload") == (value, missing)

    check_each(
        [
            ({"a": 1, "b": REDACTED}, {"a": 2, "b": 3}, {"a": 1, "b": 3}, []),
            ({"b": REDACTED}, {"b": None}, {"b": None}, []),
            ({"b": REDACTED}, {"a": 2}, {"b": REDACTED}, ["payload.b"]),
            ({"b": REDACTED}, None, {"b": REDACTED}, ["payload.b"]),
            ({"b": REDACTED}, ["x"], {"b": REDACTED}, ["payload.b"]),
            ({"a": REDACTED}, {"a": 2}, {"a": REDACTED}, []),
            ({"c": [REDACTED, 5, REDACTED]}, {"c": [1, 2]}, {"c": [1, 5, REDACTED]}, ["payload.c.2"]),
            (REDACTED, {"b": 3}, REDACTED, []),
        ],
        check,
    )


def test_number_of_named_missing_values_is_limited() -> None:
    value = {"a": [REDACTED] * (MISSING_MAX + 5)}
    _, missing = restored(value, None, ("payload.a.*", "payload.a.7"), "payload")
    assert missing == [f"payload.a.{place}" for place in range(MISSING_MAX)]
