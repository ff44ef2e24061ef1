"""The page: it is self-contained, escapes all text, and has the whole failure."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

from tests.cases import check_each
from tests.sim.report_samples import JOB, failure, long, overlap
from zeke_sim.history.events import Affected, Ended, Fault, Line, Lived, Violation
from zeke_sim.report import html
from zeke_sim.report.failure import Failure
from zeke_sim.world.faults import KINDS

NASTY = "</script><script>alert(1)</script><!-- <style>{{data}}{{script}}\u2028&amp;'\""


class Page(HTMLParser):
    """The page as a browser parses it: elements with their attributes, and the text in each."""

    def __init__(self, shown: Failure) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html.page(shown))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.texts.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        self.texts.append((f"/{tag}", ""))

    def handle_data(self, data: str) -> None:
        if self.texts:
            tag, text = self.texts[-1]
            self.texts[-1] = (tag, text + data)

    def all(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]

    def data(self) -> dict[str, Any]:
        return json.loads(self.all("script")[0])


def nasty() -> Failure:
    return failure(
        scenario=NASTY,
        strategy=NASTY,
        sentence=NASTY,
        command=NASTY,
        violation=Violation(NASTY, NASTY, job=JOB),
        events=overlap(json.dumps({"text": NASTY})),
        decisions={NASTY: {"fault": NASTY}},
        nodes=(NASTY,),
    )


def test_no_text_becomes_markup() -> None:
    def check(shown: Failure) -> None:
        page, plain = Page(shown), Page(failure())
        assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
        assert page.all("script")[1] == plain.all("script")[1]
        assert page.all("style") == plain.all("style")

    check_each({"plain": failure(), "nasty": nasty()}, check)


def test_nasty_text_is_unchanged() -> None:
    page = Page(nasty())
    data = page.data()
    row = next(event["row"] for event in data["events"] if event["kind"] == "change")
    assert json.loads(row["data"]) == {"text": NASTY}
    assert data["decisions"][0]["address"] == NASTY
    assert data["events"][-1]["text"] == NASTY
    assert [text for tag, text in page.texts if tag == "code"] == [NASTY]


def test_page_begins_with_what_happened_and_explains_faults() -> None:
    faults = [Fault(1.0, "w2", "w2/claim/1", "late", None), Fault(2.0, "w1", "node/w1/1", "kill", None)]
    page = Page(failure(events=[*overlap(), *faults], decisions={"node/w1/1": {"fault": "kill"}}))
    shown = [text.strip() for tag, text in page.texts if tag == "p"]
    assert shown[0].startswith("mail.send ran on w1")
    terms = [text for tag, text in page.texts if tag in {"dt", "dd"}]
    start = terms.index("kill")
    assert terms[start : start + 2] == ["kill", KINDS["kill"]]
    assert terms.index("late") > terms.index("lost") > start


def test_source_text_is_shown_as_code() -> None:
    line = Line("shop.py", "charge", 18, "await bank.<charge>(order)")
    fault = Fault(0.5, "w1", "a", "kill", None, None, (Affected("mail.send", JOB, 1, line),))
    before = [event for event in overlap() if event.at < 0.5]
    events = [*before, fault, Lived(0.5, "w1", "killed")]
    page = Page(failure(events=events, decisions={"a": {"fault": "kill"}}))
    assert "await bank.<charge>(order)" in page.all("code")


def test_embedded_json_has_no_markup() -> None:
    # Browsers end a script at `</script` and a space or a slash too, which the parser above does not know.
    text = html.embedded({NASTY: ["</script ", "</script/", "<!--<script"]})
    assert re.findall("[<>&\u2028\u2029]", text) == []
    assert json.loads(text) == {NASTY: ["</script ", "</script/", "<!--<script"]}


def test_lone_surrogate_can_be_written() -> None:
    half = Ended(5.0, "w1", "mail.send", JOB, 1, "returned", "\ud800")
    shown = failure(events=[*overlap(), half], sentence="\ud800")
    assert Page(shown).data()["events"][-2]["value"] == "\ud800"
    assert html.page(shown).encode()


def test_page_needs_no_network_and_runs_only_its_script() -> None:
    page = Page(failure())
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        digest = base64.b64encode(hashlib.sha256(page.all(tag)[-1].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    addresses = [a[name] for _, a in page.elements for name in ("src", "href", "action") if name in a]
    assert addresses == ["data:,"]
    assert re.findall(r"https?://|@import|url\(", html.page(failure())) == []
    assert not [name for _, a in page.elements for name in a if name.startswith("on") or name == "style"]


def test_every_placeholder_is_filled() -> None:
    assert re.findall(r"\{\{\w+\}\}", html.page(failure())) == []


def test_head_is_readable_without_script() -> None:
    told = " ".join(text for tag, text in Page(failure()).texts if tag not in {"script", "style"})
    for part in (
        "unique_effects",
        "whatever dies",
        "had the effect 'mail ann@example.org'",
        "214 decisions → 3",
    ):
        assert part in told
    assert "zeke sim replay .zeke/plans/storm-7.json" in told


def test_script_finds_its_elements_and_colours() -> None:
    page = Page(failure())
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    script = page.all("script")[1]
    wanted = set(re.findall(r"""(?:\$|getElementById)\("(\w+)"\)""", script))
    assert wanted
    assert wanted <= set(ids)
    colours = set(re.findall(r"theme\.(\w+)", script)) - {"hatched", "alarm"}
    assert colours <= set(re.findall(r"--([\w-]+):", page.all("style")[0]))


def brightness(colour: str) -> float:
    """Return the relative luminance of a colour, as WCAG 2 defines it."""
    shares = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((brightness(one), brightness(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_have_enough_contrast() -> None:
    def check(theme: str) -> None:
        light, dark = Page(failure()).all("style")[0].split("@media (prefers-color-scheme: dark)")
        colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
        if theme == "dark":
            colour |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark.partition("* {")[0]))
        on = {name: colour[name] for name in ("paper", "raised", "select")}
        written = {
            (ink, ground): contrast(colour[ink], on[ground])
            for ink in ("ink", "soft", "violation", "fault")
            for ground in on
        }
        # Names of jobs are white on bars.
        written |= {(bar, "white"): contrast(colour[bar], "#ffffff") for bar in ways_to_end()}
        assert [pair for pair, found in written.items() if found < 4.5] == []
        assert min(contrast(colour["edge"], on[ground]) for ground in ("paper", "raised")) >= 3

    check_each(["light", "dark"], check)


def ways_to_end() -> list[str]:
    """Return the ways in which a bar ends, as the script names them."""
    (states,) = re.findall(r"const OUTCOMES = (\[.*?\]);", Page(failure()).all("script")[1])
    return json.loads(states)


def test_page_has_the_whole_failure() -> None:
    data = Page(failure()).data()
    assert len(data["events"]) == len(data["lines"]) == len(data["trackOf"]) == len(data["jobsOf"])
    assert len(data["events"]) == len(overlap()) + 1, "the violation is an event of its own"
    assert data["events"][-1]["kind"] == "violation"
    assert data["tracks"] == ["api", "w1", "w2", "s1", "database"]
    assert data["jobs"] == [[str(JOB), "91c2e4", "mail.send"]]
    assert [(data["tracks"][lease["track"]], lease["outcome"]) for lease in data["leases"]] == [
        ("w1", "retry"),
        ("w2", "open"),
    ]
    assert [(d["address"], data["events"][d["first"]]["kind"]) for d in data["decisions"]] == [
        ("node/w1/1", "fault"),
        ("s1/overdue/2", "fault"),
        ("w2/settle/1", "fault"),
    ]


def test_decision_without_event_comes_last() -> None:
    data = Page(failure(decisions={"order/17": "w2", "w2/settle/1": {"fault": "lost"}})).data()
    assert [(d["address"], d["first"] is None) for d in data["decisions"]] == [
        ("w2/settle/1", False),
        ("order/17", True),
    ]


def test_endless_fault() -> None:
    for_ever = Fault(1.0, "db", "db/clock/1", "jump", float("inf"))
    (fault,) = Page(failure(events=[for_ever], decisions={})).data()["faults"]
    assert (fault["since"], fault["until"]) == (1.0, None)


def test_violation_of_unknown_job() -> None:
    data = Page(failure(events=[])).data()
    assert data["jobs"] == [[str(JOB), "91c2e4", "unknown"]]
    assert data["job"] == 0


def test_page_of_long_history_is_small() -> None:
    shown = failure(events=long(5000), violation=Violation("rule", "text", at=36_020.0))
    page = html.page(shown)
    assert len(page.encode()) < 4_000_000
    knots = html.payload(shown)["knots"]
    assert knots == sorted(knots)
