"""Articles of which the extractor reads a part: completed if the rest follows, and marked otherwise."""

from __future__ import annotations

from tests.cases import each
from tests.clocks import START
from zeke_tasks.fetch import Article, extract_article
from zeke_tasks.fetch.completeness import completed
from zeke_tasks.fetch.libraries import Paragraph

WORDS = tuple("abcdefghijklmn")


def sentence(number: int) -> str:
    """Return a sentence of fourteen words that no other sentence has."""
    return f"{', '.join(f'{word}{number}' for word in WORDS)}."


def article(*containers: str) -> Article:
    """Return the article of a page with these containers."""
    page = f"<html><head><title>A title</title></head><body><main>{''.join(containers)}</main></body></html>"
    found = extract_article(page.encode(), "https://a.example/", now=START)
    assert found
    return found


def container(numbers: range, kind: str = "article-body", *, linked: bool = False) -> str:
    form = "<p><a href='/'>{}</a></p>" if linked else "<p>{}</p>"
    return f"<div class='{kind}'>{''.join(form.format(sentence(number)) for number in numbers)}</div>"


def test_article_divided_into_containers_is_completed() -> None:
    found = article(container(range(6)), "<div class='ad'>Buy it</div>", container(range(6, 12)))
    assert found.text.splitlines() == [sentence(number) for number in range(12)]
    assert not found.is_partial


@each(
    container(range(6, 12), "comments"),
    container(range(6, 12), linked=True),
    container(range(6)),
    container(range(6, 8)),
)
def test_other_prose_of_the_page_is_not_added(other: str) -> None:
    found = article(container(range(6)), "<div class='ad'>Buy it</div>", other)
    assert (len(found.text.splitlines()), found.is_partial) == (6, False)


TITLES = ("<h1>Another article</h1>", "<h2><a href='/another'>Another article</a></h2>")


@each(*TITLES)
def test_another_article_of_the_page_is_neither_added_nor_missed(title: str) -> None:
    for form in ("{}{}", "<article>{}</article><article>{}</article>"):
        other = title + container(range(6, 12)) + title + container(range(12, 18))
        found = article(form.format(container(range(6)), other))
        assert (len(found.text.splitlines()), found.is_partial) == (6, False)


@each(
    "<h2>Related</h2>",
    "<h3 id='a'><a href='#a'>The second part</a></h3>",
    "<aside>Buy it</aside>",
    "<ul><li><a href='/'>A link</a></li></ul>",
    "<pre>x = 1</pre>",
)
def test_prose_after_something_else_is_not_added_but_missed(between: str) -> None:
    ad = "<div class='ad'>Buy it</div>"
    found = article(container(range(6)), ad, between, container(range(6, 12)))
    assert (found.text.splitlines()[-1], found.is_partial) == (sentence(5), True)


def paragraphs(*numbers: int, place: str = "p < div.article-body") -> list[Paragraph]:
    return [Paragraph(place, sentence(number)) for number in numbers]


def check(text: list[int], page: list[int], *, is_partial: bool) -> None:
    told = "\n".join(map(sentence, text))
    assert completed(told, paragraphs(*page)) == (told, is_partial)


@each([3, 4], [1, 4], [4])
def test_text_without_half_of_the_page_is_partial(text: list[int]) -> None:
    check(text, [1, 2, 3, 4], is_partial=True)


@each(([2, 3, 4], [1, 2, 3, 4]), ([1, 2], [1, 2]), ([1, 2], []), ([1, 2], [3, 4]))
def test_text_without_less_than_half_of_the_page_is_whole(text: list[int], page: list[int]) -> None:
    check(text, page, is_partial=False)


def test_quotation_within_the_missing_end_does_not_hide_it() -> None:
    text = "\n".join(map(sentence, (1, 2)))
    quoted = paragraphs(2, place="p < blockquote < div.article-body")
    page = [*paragraphs(1, 2, 3), *quoted, *paragraphs(4)]
    assert completed(text, page).text.splitlines() == [sentence(number) for number in range(1, 5)]
