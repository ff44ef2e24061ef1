"""What makes an entry the same one at the next reading."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zeke_tasks.fetch.entries import Claim, identify

# Few values, so that they repeat; some guids are URLs, and some of another entry.
names = st.sampled_from(["", "1", "2", "3", "http://a.org/1", "http://a.org/2"])
claims = st.builds(Claim, guid=names, url=names, title=names, content=names)
feeds = st.lists(claims, max_size=8)


def test_identifier_is_guid_else_url_else_content() -> None:
    one, other = "http://a.org/x", "http://a.org/y"
    assert identify([Claim("1", one, "t", "c"), Claim("2", one, "t", "c")]) == ["1", "2"]
    assert identify([Claim("1", one, "t", "c"), Claim("1", other, "t", "c")]) == [one, other]
    assert identify([Claim("", one, "t", "c")]) == [one]
    first, second = identify([Claim("", one, "t", "c"), Claim("", one, "t", "d")])
    assert first.startswith("sha256:")
    assert first != second
    # A URL that is another entry's guid is not used twice.
    first, second = identify([Claim(one, "", "t", "c"), Claim("", one, "u", "d")])
    assert first == one
    assert second.startswith("sha256:")


def test_content_is_compared_without_whitespace_and_apart_from_the_title() -> None:
    assert identify([Claim("", "", "a b", "c")]) == identify([Claim("", "", " a\nb", "c ")])
    assert identify([Claim("", "", "a", "b c")]) != identify([Claim("", "", "a b", "c")])


def test_long_guids_are_shortened() -> None:
    one, other = identify([Claim("x" * 5000, "", "t", "c"), Claim("x" * 4999 + "y", "", "t", "c")])
    assert len(one) < 100
    assert one != other


@given(feeds)
def test_entries_with_one_identifier_are_equal(feed: list[Claim]) -> None:
    by_id: dict[str, Claim] = {}
    for claim, name in zip(feed, identify(feed), strict=True):
        first = by_id.setdefault(name, claim)
        assert (first.title, first.content) == (claim.title, claim.content)


@given(feeds)
def test_different_entries_have_different_identifiers(feed: list[Claim]) -> None:
    distinct = {(claim.guid, claim.url, claim.title, claim.content): claim for claim in feed}
    by_words = {(claim.title, claim.content) for claim in distinct.values()}
    assert len(set(identify(list(distinct.values())))) >= len(by_words)


@given(feeds, st.randoms(use_true_random=False))
def test_identifiers_do_not_depend_on_order(feed: list[Claim], chance: object) -> None:
    shuffled = list(feed)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sorted(identify(shuffled)) == sorted(identify(feed))


@given(feeds)
def test_repeated_entries_keep_their_identifiers(feed: list[Claim]) -> None:
    assert identify([*feed, *feed]) == identify(feed) * 2


@given(feeds, claims)
def test_unique_guid_is_kept_beside_any_entries(feed: list[Claim], mine: Claim) -> None:
    mine = Claim("mine", mine.url, mine.title, mine.content)
    assert identify([*feed, mine])[-1] == "mine"


@given(feeds, st.integers(0, 8))
def test_guids_are_kept_when_old_entries_drop_out(feed: list[Claim], gone: int) -> None:
    before = dict(zip(feed, identify(feed), strict=True))
    rest = feed[gone:]
    for claim, name in zip(rest, identify(rest), strict=True):
        if before[claim] == claim.guid:
            assert name == claim.guid
