"""Rules that find highlights in a text: code, and sentences on changes, interfaces and figures.

The rules are for English articles on software as the extractor returns them: one paragraph per line, and
code, lists and tables with their own lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from zeke_tasks.fetch.text import one_line
from zeke_tasks.store.highlights import HighlightKind
from zeke_tasks.text_rules import sentences, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TEXT_CHARACTERS_MIN: Final = 200
"""Minimum length of a text with highlights."""

TEXT_CHARACTERS_MAX: Final = 100_000
"""Characters of a text that are searched: some 17,000 words, which take some 50 milliseconds."""

MOST_OF_A_KIND: Final = 20
"""Maximum highlights of one kind: more are not read, and some pages consist of figures."""

CONFIDENCE: Final = {
    HighlightKind.CODE_EXAMPLE: 0.85,
    HighlightKind.METRIC: 0.85,
    HighlightKind.API_CHANGE: 0.8,
    HighlightKind.CODE_CHANGE: 0.75,
}
"""The confidence of each rule, highest first; if several rules find a quote, the first one wins."""

SUMMARY_CHARACTERS: Final = 280
CODE_CHARACTERS: Final = 1_000
SENTENCE_CHARACTERS: Final = (20, 600)


@dataclass(frozen=True, slots=True)
class Found:
    """A highlight found by a rule; the quote is verbatim except for whitespace."""

    kind: HighlightKind
    summary: str
    quote: str

    @property
    def confidence(self) -> float:
        """The confidence of the rule."""
        return CONFIDENCE[self.kind]


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(patterns)})\b", re.IGNORECASE)


_CHANGED = _words(
    "add(?:s|ed)",
    "changed",
    "deleted",
    "dropped",
    "fixed",
    "introduc(?:es|ed)",
    "merg(?:es|ed)",
    "migrated",
    "moved",
    "patched",
    "ported",
    "refactor(?:s|ed|ing)?",
    "remov(?:es|ed)",
    "renam(?:es|ed)",
    "replac(?:es|ed)",
    "revert(?:s|ed)",
    "rewrites?",
    "rewrote",
    "rewritten",
    "split",
    "switched",
    "upgraded",
)
_CODE = _words(
    "bugs?",
    "class(?:es)?",
    "code ?bases?",
    "commits?",
    "compilers?",
    "dependenc(?:y|ies)",
    "functions?",
    "implementations?",
    "indexe?s?",
    "librar(?:y|ies)",
    "methods?",
    "migrations?",
    "modules?",
    "packages?",
    "parsers?",
    "patch(?:es)?",
    "pull requests?",
    "regressions?",
    "repositor(?:y|ies)",
    "schemas?",
    "source code",
    "test suites?",
)
_INTERFACE = _words(
    r"APIs?",
    "arguments?",
    "CLI",
    "command[- ]line (?:flags?|options?)",
    "endpoints?",
    "function signatures?",
    "GraphQL",
    "JSON (?:format|response|schema)",
    "parameters?",
    "rate limits?",
    "request headers?",
    "response format",
    "SDKs?",
    "status codes?",
    "webhooks?",
)
_INTERFACE_CHANGED = _words(
    "added",
    "adds",
    "backwards?[- ](?:in)?compatible",
    "chang(?:es|ed)",
    "generally available",
    "introduc(?:es|ed)",
    "launch(?:es|ed)",
    "new",
    "no longer",
    "now",
    "remov(?:es|ed)",
    "renam(?:es|ed)",
    "replac(?:es|ed)",
    "requires?",
    "retir(?:es|ed)",
    "shut(?:s|ting)? down",
    "sunset(?:s|ting)?",
)
_BREAKING = _words("breaking changes?", "deprecat(?:e|es|ed|ing|ion)")

# URLs are not prose, and "100% sure" or "is 100% right" is not a figure.
_NOT_SAID = re.compile(
    r"\bhttps?://[^\s<>]+"
    r"|\b100\s?(?:%|percent)\s+(?:agree|certain|committed|confident|convinced|sure)\b"
    r"|(?:\b(?:am|are|be|been|is|not|was|were)|['\u2019](?:m|re|s))\s+100\s?(?:%|percent)\s+(?:clear|correct|positive"
    r"|right(?!\s+(?:after|at|away|before|from|now|when))|true)\b",
    re.IGNORECASE,
)
# "c3%b3" is an escaped letter in a URL, and "10 % 3" a remainder, but "95 % 3 hours" is a share. In scripts
# without blanks a letter may follow the sign directly.
_IN_CODE = r"[a-z\d_%]"
_DIVIDED = r"\s\d++(?:[.,]\d++)*+(?:\Z|\s*[^\w\s-]|\s+(?:-|\Z|(?:equals|gives|is|leaves|yields)\b))"
_SHARE = re.compile(
    rf"(?<!{_IN_CODE})\d[\d.,]*(?:%(?!{_IN_CODE})|\s%(?!{_IN_CODE}|{_DIVIDED})"
    r"|\s?(?:percent\b|percentage points?\b))"
    r"|\b\d[\d.,]*\s?(?:x|\u00d7|times|-?fold)\s+(?:as|better|cheaper|faster|fewer|higher|larger|less|longer|lower"
    r"|more|quicker|shorter|slower|smaller)\b",
    re.IGNORECASE,
)
_AMOUNT = re.compile(
    r"[$€£]\s?\d[\d.,]*"
    r"|\b\d[\d.,]*\s?(?:ns|[µμ]s|ms|s|(?:micro|milli)?seconds?|minutes?|hours?|[KMGT]i?B|bytes|(?:kilo|mega"
    r"|giga|tera)bytes|tokens?|parameters|requests?|queries|rows|jobs|users|customers|[kmb]n?|thousand|million"
    r"|billion|trillion|fps|rps|qps)\b",
    re.IGNORECASE,
)
_COMPARED = _words(
    "accuracy",
    "at least",
    "at most",
    "averag(?:e|es|ed|ing)",
    "benchmarks?",
    "cheaper",
    "costs?",
    r"cut(?:s|ting)?",
    "doubl(?:es|ed)",
    "drop(?:s|ped)",
    "fast(?:er|est)",
    "fell",
    "from [^.]{1,60} to",
    "grew",
    "grow(?:s|n)",
    "handles?",
    "halv(?:es|ed)",
    "improv(?:es|ed|ing|ements?)",
    "increas(?:es|ed|ing)",
    "instead of",
    "latency",
    "less than",
    "measured",
    "median",
    "memory",
    "more than",
    r"p\d\d",
    "per (?:day|hour|minute|month|second|million|request|token|user)",
    "pric(?:es?|ed|ing)",
    "quick(?:er|est)",
    "rais(?:es|ed)",
    "reduc(?:es|ed|ing|tions?)",
    "revenue",
    "rose",
    "saves?",
    "slow(?:er|est)",
    "throughput",
    "up to",
)

_FENCE = re.compile(r"\s*(?:```|~~~)")
_PROMPT = re.compile(r"\s*(?:\$|>>>) \S")
_CODE_LINE = re.compile(
    r"\s*(?:"
    + "|".join(
        (
            # Definitions and imports.
            r"(?:async )?def \w+\(",
            r"class \w+(?: extends \w+)?[:({ ]*$",
            r"class \w+\(",
            r"from [\w.]+ import \w",
            r"import [\w.{*\"'][^ ]*(?: as \w+| from .+|, .+|.*\})?;?$",
            r"package \w+;?$",
            r"#include\b",
            r"(?:(?:export|pub|public|private|async) )*(?:function|fn|func|struct|enum)[ *]*\w*\s*[(<{]",
            r"(?:export )?(?:const|let|var|val) [\w\[{][^=]*=",
            # Statements.
            r"return\b[^.]*;?$",
            r"(?:if|for|while|switch|catch) ?\(.*\) ?\{?$",
            r"(?:if|elif|else|for|while|with|try|except)\b.*:$",
            r"@\w[\w.]*(?:\(.*\))?$",
            r"[\w.\[\]\"']+ ?(?::?=|\+=|-=) ?\S",
            r"[\w.]+\(.*\);?$",
            *(
                rf"(?:{verb}|{verb.upper()}) [\w*\"(]"
                for verb in ("select", "insert into", "update", "delete from", "alter table", "with")
            ),
            r"(?:create|CREATE) (?:(?:unique|UNIQUE) )?(?:table|index|TABLE|INDEX) \w",
            # Commands.
            r"(?:apt|brew|cargo|curl|docker|git|go|kubectl|npm|pip|pnpm|python3?|uv) [a-z-][\w.:/=@ -]*$",
            # Changes.
            r"@@ -\d",
            r"[+-] {2,}\S",
            # Endings of lines in many languages, and lines of punctuation only.
            r"\S.*(?:[;{]|=>|\\|&&|\|\|)$",
            r"[)\]}]+[;,]?$",
            r"</?\w[^<>]*>$",
            r"//|/\*",
        )
    )
    + ")"
)
_LONGEST_CODE_LINE: Final = 200
_INDENTED = re.compile(r"\s+\S")
_TABLE_ROW = re.compile(r"\s*\|")


def find_highlights(text: str) -> list[Found]:
    """Return the highlights that the rules find in a text, in its order, each quote once.

    Texts of less than 200 characters have none; of longer texts the first 100,000 characters are searched.
    """
    if len(text) < TEXT_CHARACTERS_MIN:
        return []
    left = dict.fromkeys(CONFIDENCE, MOST_OF_A_KIND)
    found: dict[str, Found] = {}
    for one in _look(text[:TEXT_CHARACTERS_MAX].split("\n")):
        quote = one_line(one.quote).lower()
        if quote not in found and left[one.kind]:
            left[one.kind] -= 1
            found[quote] = one
    return list(found.values())


def _look(lines: Sequence[str]) -> Iterator[Found]:
    """Yield the highlights; consecutive lines of code form one, described by the sentence before them."""
    position, told = 0, ""
    while position < len(lines):
        code, after = _code_at(lines, position)
        if code:
            quote = _whole_lines(code)
            summary = shorten(told or one_line(quote), SUMMARY_CHARACTERS)
            yield Found(HighlightKind.CODE_EXAMPLE, summary, quote)
        if after == position:
            after += 1
            for sentence in () if _TABLE_ROW.match(lines[position]) else sentences(lines[position]):
                told = sentence
                if (kind := kind_of(sentence)) is not None:
                    yield Found(kind, shorten(sentence, SUMMARY_CHARACTERS), sentence)
        position = after


def kind_of(sentence: str) -> HighlightKind | None:
    """Return the kind of a sentence by the rule with the highest confidence; None if none applies.

    >>> kind_of("The new index cuts the median latency from 40 ms to 2 ms.")
    <HighlightKind.METRIC: 'metric'>
    >>> kind_of("The v1 endpoints are deprecated and will be removed in March.")
    <HighlightKind.API_CHANGE: 'api_change'>
    >>> kind_of("We rewrote the parser in Rust.")
    <HighlightKind.CODE_CHANGE: 'code_change'>
    >>> kind_of("It was a sunny morning, and the birds sang.")
    """
    shortest, longest = SENTENCE_CHARACTERS
    if not shortest <= len(sentence) <= longest:
        return None
    sentence = _NOT_SAID.sub(" ", sentence)
    if _SHARE.search(sentence) or (_AMOUNT.search(sentence) and _COMPARED.search(sentence)):
        return HighlightKind.METRIC
    if _BREAKING.search(sentence) or (_INTERFACE.search(sentence) and _INTERFACE_CHANGED.search(sentence)):
        return HighlightKind.API_CHANGE
    if _CHANGED.search(sentence) and _CODE.search(sentence):
        return HighlightKind.CODE_CHANGE
    return None


def _code_at(lines: Sequence[str], position: int) -> tuple[list[str], int]:
    """Return the lines of code that begin at a line, and the position after them.

    If no code begins there, the position is that of the line itself.
    """
    end = position + 1
    if _FENCE.match(lines[position]):
        while end < len(lines) and not _FENCE.match(lines[end]):
            end += 1
        inside = list(lines[position + 1 : end])
        return (inside if any(map(str.strip, inside)) else []), end + 1
    if not _is_code(lines[position]):
        return [], position
    while end < len(lines) and (_is_code(lines[end]) or _INDENTED.match(lines[end])):
        end += 1
    # A single line may be a sentence that looks like code, unless it has a prompt; two lines rarely are.
    if end == position + 1 and not _PROMPT.match(lines[position]):
        return [], position
    return list(lines[position:end]), end


def _is_code(line: str) -> bool:
    return len(line) <= _LONGEST_CODE_LINE and bool(_PROMPT.match(line) or _CODE_LINE.match(line))


def _whole_lines(code: Sequence[str]) -> str:
    """Return as many whole lines as fit into a quote, or else the beginning of the first one."""
    kept: list[str] = []
    left = CODE_CHARACTERS
    for line in code:
        left -= len(line) + 1
        if left < 0:
            break
        kept.append(line.rstrip())
    return "\n".join(kept).strip("\n") or code[0][:CODE_CHARACTERS]
