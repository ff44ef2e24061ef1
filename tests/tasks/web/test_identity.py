"""What makes an entry the same one at the next reading."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zeke_tasks.web.entries import Claim, identify

# Few values, so that they repeat; some guids are URLs, and some of another entry.
names = st.sampled_from(["", "1", "2", "3", "http://a.org/1", "http://a.org/2"])
claims = st.builds(Claim, guid=names, url=names, title=names, content=names)
feeds = st.lists(claims, max_size=8)


def test_the_feeds_own_identifier_comes_first() -> None:
    assert identify([Claim("1", "http://a.org/", "t", "c"), Claim("2", "http://a.org/", "t", "c")]) == [
        "1",
        "2",
    ]


def test_a_repeated_guid_falls_back_to_the_url() -> None:
    found = identify([Claim("1", "http://a.org/x", "t", "c"), Claim("1", "http://a.org/y", "t", "c")])
    assert found == ["http://a.org/x", "http://a.org/y"]


def test_a_missing_guid_falls_back_to_the_url() -> None:
    assert identify([Claim("", "http://a.org/x", "t", "c")]) == ["http://a.org/x"]


def test_a_repeated_url_falls_back_to_title_and_content() -> None:
    one, other = identify([Claim("", "http://a.org/", "t", "c"), Claim("", "http://a.org/", "t", "d")])
    assert one.startswith("sha256:")
    assert one != other


def test_whitespace_does_not_make_another_entry() -> None:
    assert identify([Claim("", "", "a b", "c")]) == identify([Claim("", "", " a\nb", "c ")])


def test_title_and_content_are_not_run_together() -> None:
    assert identify([Claim("", "", "a", "b c")]) != identify([Claim("", "", "a b", "c")])


def test_a_url_that_is_another_entrys_guid_is_not_used_twice() -> None:
    url = "http://a.org/1"
    one, other = identify([Claim(url, "", "t", "c"), Claim("", url, "u", "d")])
    assert one == url
    assert other.startswith("sha256:")


def test_an_identifier_fits_into_an_index() -> None:
    one, other = identify([Claim("x" * 5000, "", "t", "c"), Claim("x" * 4999 + "y", "", "t", "c")])
    assert len(one) < 100
    assert one != other


@given(feeds)
def test_entries_with_one_identifier_agree_in_all_that_is_said(feed: list[Claim]) -> None:
    by_id: dict[str, Claim] = {}
    for claim, name in zip(feed, identify(feed), strict=True):
        first = by_id.setdefault(name, claim)
        assert (first.title, first.content) == (claim.title, claim.content)


@given(feeds)
def test_entries_that_differ_in_what_identifies_them_are_kept_apart(feed: list[Claim]) -> None:
    distinct = {(claim.guid, claim.url, claim.title, claim.content): claim for claim in feed}
    by_words = {(claim.title, claim.content) for claim in distinct.values()}
    assert len(set(identify(list(distinct.values())))) >= len(by_words)


@given(feeds, st.randoms(use_true_random=False))
def test_the_order_of_the_feed_does_not_matter(feed: list[Claim], chance: object) -> None:
    shuffled = list(feed)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sorted(identify(shuffled)) == sorted(identify(feed))


@given(feeds)
def test_an_entry_that_is_listed_twice_is_the_same_one_as_when_it_is_listed_once(feed: list[Claim]) -> None:
    assert identify([*feed, *feed]) == identify(feed) * 2


@given(feeds, claims)
def test_an_entry_keeps_its_own_guid_whatever_its_neighbours_are(feed: list[Claim], mine: Claim) -> None:
    mine = Claim("mine", mine.url, mine.title, mine.content)
    assert identify([*feed, mine])[-1] == "mine"


@given(feeds, st.integers(0, 8))
def test_when_old_entries_drop_out_those_that_were_known_by_their_guid_stay(
    feed: list[Claim], gone: int
) -> None:
    before = dict(zip(feed, identify(feed), strict=True))
    rest = feed[gone:]
    for claim, name in zip(rest, identify(rest), strict=True):
        if before[claim] == claim.guid:
            assert name == claim.guid
