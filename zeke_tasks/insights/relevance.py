"""Relevance of a highlight, a weighted sum of four parts that are each between 0 and 1.

The weights are 0.4 for the number of keywords (five are enough), 0.3 for the kind, 0.2 for the authority of
the source, 0.1 for the freshness of the story. The sum is exact before it is rounded, so that equal
highlights have equal scores on every machine.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from zeke_tasks.store.highlights import HighlightKind, Score

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

KEYWORDS_ENOUGH: Final = 5
FRESH_DAYS: Final = 60
LEAST_FRESH: Final = Fraction(1, 2)
AUTHORITY_UNKNOWN: Final = 0.7

WEIGHTS: Final = {
    "keywords": Fraction(4, 10),
    "kind": Fraction(3, 10),
    "authority": Fraction(2, 10),
    "freshness": Fraction(1, 10),
}

KIND: Final = {
    HighlightKind.CODE_CHANGE: Fraction(1),
    HighlightKind.API_CHANGE: Fraction(95, 100),
    HighlightKind.METRIC: Fraction(9, 10),
    HighlightKind.CODE_EXAMPLE: Fraction(85, 100),
    HighlightKind.INSIGHT: Fraction(8, 10),
    HighlightKind.ACTION: Fraction(75, 100),
    HighlightKind.QUOTE: Fraction(6, 10),
    HighlightKind.QUESTION: Fraction(5, 10),
}
OTHER_KIND: Final = Fraction(7, 10)


def score(
    kind: HighlightKind,
    text: str,
    *,
    keywords: Sequence[str],
    authority: float | None,
    age_days: int | None,
) -> Score:
    """Return the score of a highlight.

    Args:
        kind: of the highlight.
        text: all its text, which is searched for keywords.
        keywords: words that are of interest, see ``matches_in``.
        authority: of the story's source, 0 to 1; None, which counts as 0.7, if unknown.
        age_days: whole days since the story was published; a date in the future counts as new, an unknown one
            as old.

    >>> score(HighlightKind.METRIC, "Rust 2.0", keywords=["rust"], authority=0.5, age_days=0).value
    0.55
    """
    matches = matches_in(text, keywords)
    # The float 0.7 is not exactly 7/10, so the fraction is made from its decimal digits.
    known = Fraction(repr(AUTHORITY_UNKNOWN if authority is None else authority))
    parts = {
        "keywords": min(Fraction(1), Fraction(len(matches), KEYWORDS_ENOUGH)),
        "kind": KIND.get(kind, OTHER_KIND),
        "authority": known,
        "freshness": freshness(age_days),
    }
    weighed = {name: WEIGHTS[name] * part for name, part in parts.items()}
    return Score(
        value=_rounded(sum(weighed.values(), Fraction(0)), 2),
        matches=matches,
        breakdown={name: _rounded(part, 4) for name, part in weighed.items()},
    )


def freshness(age_days: int | None) -> Fraction:
    """Return the freshness of a story: 1 on its first day, falling to one half."""
    if age_days is None:
        return LEAST_FRESH
    return max(LEAST_FRESH, min(Fraction(1), 1 - Fraction(age_days, FRESH_DAYS)))


def age_in_days(published_at: datetime | None, now: datetime) -> int | None:
    """Return the whole days since publication, so that a score does not change every minute."""
    return None if published_at is None else (now - published_at).days


def matches_in(text: str, keywords: Sequence[str]) -> tuple[str, ...]:
    r"""Return the keywords that a text contains as whole words, in their order, without duplicates.

    Case is ignored, and any whitespace matches between the words of a keyword.

    >>> matches_in("A Postgres\n release; rusty tools", ["postgres", "rust", "Postgres release"])
    ('postgres', 'Postgres release')
    """
    found: dict[str, str] = {}
    for keyword in keywords:
        if _pattern(keyword).search(text):
            found.setdefault(keyword.casefold(), keyword)
    return tuple(found.values())


@lru_cache(maxsize=1024)
def _pattern(keyword: str) -> re.Pattern[str]:
    words = r"\s+".join(map(re.escape, keyword.split()))
    # \b fails for keywords such as C++ or .NET, which end or start without a letter. A keyword without
    # letters never matches.
    return re.compile(rf"(?<!\w){words}(?!\w)" if words else r"(?!)", re.IGNORECASE)


def _rounded(number: Fraction, decimals: int) -> float:
    """Round half up, as Postgres does."""
    return int(number * 10**decimals + Fraction(1, 2)) / 10**decimals
