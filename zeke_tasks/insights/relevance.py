"""How relevant a highlight is, as a sum of four parts that are each between 0 and 1.

0.4 for how many keywords it has (five are enough), 0.3 for its kind, 0.2 for the authority of the source, 0.1
for how fresh the story is. The sum is exact before it is rounded, so that equal highlights have equal scores
on every machine.
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
        text: all that it says, in which keywords are looked for.
        keywords: words that are of interest, see ``matches_in``.
        authority: of the story's source, 0 to 1; None, which counts as 0.7, where nothing is known.
        age_days: whole days since the story was published; one that is yet to come counts as new, and one
            whose date isn't known as old.

    >>> score(HighlightKind.METRIC, "Rust 2.0", keywords=["rust"], authority=0.5, age_days=0).value
    0.55
    """
    matches = matches_in(text, keywords)
    # By way of its digits, for 0.7 as a fraction is none with a denominator of ten.
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
    """Return how fresh a story of some age is: 1 on its first day, and in the end one half."""
    if age_days is None:
        return LEAST_FRESH
    return max(LEAST_FRESH, min(Fraction(1), 1 - Fraction(age_days, FRESH_DAYS)))


def age_in_days(published_at: datetime | None, now: datetime) -> int | None:
    """Return the whole days since a moment, so that a score does not change with every minute."""
    return None if published_at is None else (now - published_at).days


def matches_in(text: str, keywords: Sequence[str]) -> tuple[str, ...]:
    r"""Return those of the keywords that a text has as whole words, in their order, each once.

    Upper and lower case are one, and so is all white space between the words of a keyword.

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
    # Not \b: a keyword such as C++ or .NET has no letter at its end or its start. One without any is in none.
    return re.compile(rf"(?<!\w){words}(?!\w)" if words else r"(?!)", re.IGNORECASE)


def _rounded(number: Fraction, decimals: int) -> float:
    """Round half up, as Postgres does."""
    return int(number * 10**decimals + Fraction(1, 2)) / 10**decimals
