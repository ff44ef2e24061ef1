"""Strangers' words on a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence
from uuid import UUID

from rich.console import Console
from rich.text import Text

from tests.cases import check_each
from zeke_tasks.cli.formatting import Entry, abbreviated, listed, printable_words, wrapped


def test_words_become_one_printable_line() -> None:
    def check(words: str, shown: str) -> None:
        assert printable_words(words) == shown

    cases = [
        ("as they are", "as they are"),
        (" red\x1b[31m\nand soft\u00adly ", "red [31m and softly"),
        ("a\u00a0b\u2028c", "a b c"),
        ("exe.\u202etxt", "exe.txt"),
        ("half \ud83d of it", "half of it"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("日本語", "日本語"),
    ]
    check_each(cases, check)


def _printed(words: str, width: int, first: str = "", rest: str | None = None) -> list[str]:
    out = Console(file=io.StringIO(), width=width)
    wrapped(out, words, first, rest)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


def test_paragraph_respects_width_and_indent() -> None:
    words = "[bold]One two[/bold] three four five six seven eight nine ten eleven twelve"
    lines = _printed(words, 32, "  • ")
    assert len(lines) > 2
    assert all(len(line) <= 32 for line in lines)
    assert [line[:4] for line in lines] == ["  • ", *["    "] * (len(lines) - 1)]
    assert " ".join(line[4:] for line in lines) == words


def test_wide_characters_respect_the_width() -> None:
    assert all(len(line) <= 2 + 15 for line in _printed("語" * 40, 32, "  "))


def test_list_has_columns_for_short_cells_and_unbroken_words() -> None:
    out = Console(file=io.StringIO(), width=40)
    entries = [
        Entry(
            ("a1", "ok"),
            "A name that takes more than one line of this",
            "And what is said of it, on its own",
            f"https://a.example/{'x' * 40}",
        ),
        Entry(("b2", Text("failing", style="red")), "Short"),
    ]
    listed(out, ("id", "is", "name"), entries)
    assert isinstance(out.file, io.StringIO)
    assert out.file.getvalue().splitlines() == [
        "id  is       name",
        "a1  ok       A name that takes more than",
        "             one line of this",
        "    And what is said of it, on its own",
        f"    https://a.example/{'x' * 40}",
        "b2  failing  Short",
    ]


def _listed(titles: Sequence[str], *entries: Entry) -> list[str]:
    out = Console(file=io.StringIO(), width=40, force_terminal=True, color_system=None)
    listed(out, titles, entries)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


def test_column_width_counts_wide_characters() -> None:
    assert _listed(("識別子", "題名"), Entry(("語",), "Bees"), Entry(("ab12",), "蜂が踊る")) == [
        "識別子  題名",
        "語      Bees",
        "ab12    蜂が踊る",
    ]


def test_columns_are_at_least_as_wide_as_their_headings() -> None:
    assert _listed(("number", "name"), Entry(("1",), "Bees", "More of it")) == [
        "number  name",
        "1       Bees",
        "        More of it",
    ]


def test_control_characters_of_a_url_are_removed() -> None:
    shown = _listed(("id", "name"), Entry(("1",), "Bees", url="https://a.example/\x1b[2J\x9b2J\u202e\r\nx"))
    assert shown[2:] == ["    https://a.example/ [2J 2J x"]


def test_ids_are_as_long_as_needed_to_differ() -> None:
    far, near, twin = UUID(int=1 << 127), UUID(int=1 << 64), UUID(int=3 << 64)
    assert abbreviated([far]) == {far: "80000000"}
    short = abbreviated([far, near, twin])
    assert len(set(short.values())) == 3
    assert all(str(each).startswith(text) for each, text in short.items())
    assert abbreviated([]) == {}
