"""Highlights that the rules find in a text, and texts without any."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.cases import each
from zeke_tasks.fetch.text import one_line
from zeke_tasks.insights.rules import (
    CODE_CHARACTERS,
    CONFIDENCE,
    MOST_OF_A_KIND,
    SUMMARY_CHARACTERS,
    TEXT_CHARACTERS_MIN,
    find_highlights,
    kind_of,
)
from zeke_tasks.store.highlights import HighlightKind

API, CODE, EXAMPLE, METRIC = (
    HighlightKind.API_CHANGE,
    HighlightKind.CODE_CHANGE,
    HighlightKind.CODE_EXAMPLE,
    HighlightKind.METRIC,
)
FILLER = "This paragraph says nothing in particular, and it says so at some length. " * 4

PYTHON = "def wait(failures):\n    window = 2 ** failures\n\treturn window / 2"
QUERY = "select id\n  from job\n where state = 'waiting'\n limit 20"
SHELL = "$ python -m pip install zeke"

pieces = st.sampled_from(
    [
        "We rewrote the parser in Rust.",
        "The v1 API is deprecated.",
        "It is 3 times faster.",
        "Nothing in particular is said here.",
        PYTHON,
        QUERY,
        SHELL,
        "```",
        "| a | 5% |",
        "  indented",
        "",
    ]
) | st.text(max_size=80)
texts = st.lists(pieces, max_size=40).map("\n".join)


def found_in(text: str) -> list[tuple[HighlightKind, str]]:
    return [(found.kind, found.quote) for found in find_highlights(f"{FILLER}\n{text}\n{FILLER}")]


@each(
    ("The new index cuts the median latency from 40 ms to 2 ms.", METRIC),
    ("Memory use drops by 37.5 % on the large instance.", METRIC),
    ("Builds are 2.4x faster than before.", METRIC),
    ("It costs $0.15 per million tokens at the moment.", METRIC),
    ("A single node handles 12,000 requests per second.", METRIC),
    ("It takes 5 seconds to read this.", None),
    ("The meeting was in 2024 and had 12 guests.", None),
    ("The v1 endpoints are deprecated and go away in March.", API),
    ("This is a breaking change for all callers.", API),
    ("The search API now returns results in pages.", API),
    ("A new parameter of the SDK sets the limit.", API),
    ("The API is described in the handbook.", None),
    ("We rewrote the parser in Rust over the summer.", CODE),
    ("This commit removes the old implementation.", CODE),
    ("Version 3 renames the module, and fixes nothing else.", CODE),
    ("We reviewed documentation changes and bugs.", None),
    ("They moved to Berlin last year.", None),
    ("It was a sunny morning, and the birds sang.", None),
    ("5% more.", None),
    ("The proposal is at https://a.example/dr%c3%b3g_%20ekspresowych for now.", None),
    ("See https://api.example.com/new/functions-removed for all of it.", None),
    ("The details are in <a href=https://a.example/?q=50%>the page</a> of it.", None),
    ("I am not 100% sure that this is how it works.", None),
    ("We are 100 percent committed to what we said.", None),
    ("Tests cover 100% of the lines that we wrote.", METRIC),
    ("The remainder of 10 % 3 is one, as everybody knows.", None),
    ("The name is spelt caf%c3%a9 wherever it is sent.", None),
    ("What begins with %c3% is no whole letter of it.", None),
    ("We grew 100% right after the launch of it.", METRIC),
    ("They say that it is 100% right, and nobody knows.", None),
    ("Nobody is 100 % right now, or ever was before.", METRIC),
    ("They were 100% correctly answered by all of them.", METRIC),
    ("It got 100% positive reviews in all of the shops.", METRIC),
    ("I can say that I 100% agree with all of this.", None),
    ("All in all 100% agreed with what we proposed.", METRIC),
    ("For 95 % 3 hours were enough to read it.", METRIC),
    ("For 95 % 3.5 hours were enough to read it.", METRIC),
    ("For 95 % 30-minute talks were long enough.", METRIC),
    ("Everybody knows that one is left by 10 % 3.", None),
    ("Everybody knows what is left: 10 % 3 == 1, or so.", None),
    ("Everybody knows what is left: (10 % 3) - 1, or so.", None),
    ("据公司介绍，今年上半年销售额增长40%左右，超出了预期的水平。", METRIC),  # noqa: RUF001 - as written
    ("毎年の売上は前年と比べておよそ約40％ではなく40%増えたと発表された。", METRIC),  # noqa: RUF001 - as written
)
def test_sentence_has_kind_of_its_subject(sentence: str, kind: HighlightKind | None) -> None:
    assert kind_of(sentence) is kind
    assert found_in(sentence) == ([(kind, sentence)] if kind else [])


def test_surest_of_several_rules_wins() -> None:
    assert kind_of("The new API is 30% faster, since we rewrote the parser.") is METRIC
    assert kind_of("We rewrote the parser, and the old API is deprecated.") is API


@each(PYTHON, QUERY, SHELL, "const a = 1;\nlet b = a;", "<ul>\n  <li>\n</ul>")
def test_code_lines_are_one_example_with_preceding_sentence(code: str) -> None:
    (found,) = find_highlights(f"{FILLER}\nThis is how it is done:\n{code}\nAnd so on. {FILLER}")
    assert (found.kind, found.summary, found.quote) == (EXAMPLE, "This is how it is done:", code)


def test_fenced_text_is_code_and_single_line_only_if_it_is_a_command() -> None:
    assert found_in("x = 1") == []
    assert found_in("$ ls -l") == [(EXAMPLE, "$ ls -l")]
    assert found_in("```text\nbuzz buzz\nbuzz\n```") == [(EXAMPLE, "buzz buzz\nbuzz")]
    assert found_in("```\n\n```") == []


def test_code_without_preceding_text_is_its_own_summary() -> None:
    (found,) = find_highlights(f"{PYTHON}\n{'# bees' * 40}")
    assert found.summary.startswith("def wait(failures): window = 2 ** failures")


@each("From Berlin (Germany)", "import duties rise", "- one\n- two", "| 50% | x = 1; |", "Note:\nThis.")
def test_prose_lists_and_tables_are_not_code(prose: str) -> None:
    assert found_in(prose) == []


def test_quote_is_found_once() -> None:
    line = "We rewrote the parser in Rust."
    assert found_in(f"{line}\n{line.upper()}\nWe  rewrote the parser in Rust. ") == [(CODE, line)]


def test_page_full_of_figures_has_a_bounded_number_of_findings() -> None:
    many = "\n".join(f"Sales rose by {number}% in the last year." for number in range(3 * MOST_OF_A_KIND))
    assert len(found_in(many)) == MOST_OF_A_KIND
    assert found_in(f"{many}\nWe rewrote the parser in Rust.")[-1][0] is CODE


def test_short_text_has_no_findings() -> None:
    line = "Sales rose by 5% in the last year."
    assert find_highlights(line.ljust(TEXT_CHARACTERS_MIN - 1)) == []
    assert len(find_highlights(line.ljust(TEXT_CHARACTERS_MIN))) == 1


def test_long_code_is_quoted_by_whole_lines() -> None:
    (found,) = find_highlights("\n".join(f"call_number({number})" for number in range(500)))
    assert len(found.quote) <= CODE_CHARACTERS
    assert found.quote.endswith(")")


@given(texts)
def test_quotes_are_in_the_text_once_and_can_be_kept(text: str) -> None:
    found = find_highlights(text)
    quotes = [one_line(one.quote).lower() for one in found]
    assert len(set(quotes)) == len(quotes)
    for one in found:
        assert one_line(one.quote) in one_line(text)
        assert one.quote.strip()
        assert 0 < len(one.summary) <= SUMMARY_CHARACTERS
        assert one.confidence == CONFIDENCE[one.kind]


@given(texts, st.integers(0, 40))
def test_prose_at_the_start_does_not_change_later_findings(text: str, lines: int) -> None:
    after = {one.quote for one in find_highlights(f"{FILLER}\n{text}")}
    assert {one.quote for one in find_highlights(f"{FILLER}\n{'And so on.' * lines}\n{text}")} == after


@each("```\n", "x()\ny\n", "5" * 99, "5.", "$ ", "(" * 150 + "\n", "from a to ", "\t", "-\n", "a b. ")
def test_hostile_text_is_searched_in_linear_time(unit: str) -> None:
    # Time is no measure on a busy machine: this has to end, which in quadratic time it would not.
    assert len(find_highlights(unit * (400_000 // len(unit)))) <= len(CONFIDENCE) * MOST_OF_A_KIND
