"""A failure as an HTML page: one file that needs no network and runs only its own scripts.

``timeline.html`` is the frame and ``timeline.css`` its style. ``scale.js`` maps times to positions,
``timeline.js`` draws the tracks, and ``inspector.js`` handles keys, details and the table. They are joined to
one script in this order. The failure is embedded as JSON, which the page never interprets as markup.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from zeke_sim.report import as_json
from zeke_sim.report import story as stories
from zeke_sim.report.errors import errors
from zeke_sim.report.source import section
from zeke_sim.report.summary import summary
from zeke_sim.report.text import decided
from zeke_sim.world.faults import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zeke_sim.experiment.fault_coverage import FaultCoverage
    from zeke_sim.report.failure import Failure
    from zeke_sim.report.story import Story

SCRIPTS: Final = ("scale.js", "timeline.js", "inspector.js")

ERRORS: Final = 20
"""Maximum number of failed jobs whose errors the page lists at the top."""

DIGITS: Final = 9
"""Decimals of a second in the drawing; the events keep full precision."""


def page(failure: Failure) -> str:
    """Return the page's HTML."""
    style, script = (
        f"{_part('timeline.css')}\n{_part('source.css')}",
        "\n".join(_part(name) for name in SCRIPTS),
    )
    broken = failure.violation
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": escape(policy),
        "title": escape(f"{broken.rule} · {failure.outcome.plan.scenario} {failure.outcome.plan.seed}"),
        "style": style,
        "rule": escape(broken.rule),
        "summary": _summary(failure),
        "kinds": _kinds(failure),
        "sentence": escape(" ".join(failure.outcome.sentence.split())),
        "broken": escape(broken.text),
        "errors": _errors(failure),
        "scenario": escape(failure.outcome.plan.scenario),
        "seed": str(failure.outcome.plan.seed),
        "strategy": escape(failure.outcome.plan.strategy),
        "shrunk": escape(failure.shrinking()),
        "command": escape(failure.command),
        "data": embedded(payload(failure)),
        "source": "" if failure.coverage is None else section(failure.coverage),
        "script": script,
    }
    # In one pass, so that inserted text is not searched for placeholders.
    whole = re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _part("timeline.html"))
    # A lone surrogate cannot be encoded as UTF-8, so escape it.
    return whole.encode("utf-8", "backslashreplace").decode()


def source_page(title: str, coverage: FaultCoverage) -> str:
    """Return the HTML of a page that shows only the source of handlers, with the faults of passed runs."""
    style, name = _part("source.css"), escape(title)
    policy = f"default-src 'none'; style-src '{_hash(style)}'; img-src data:; base-uri 'none'"
    return (
        (
            f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f'<title>Faults of {name}</title>\n<link rel="icon" href="data:,">\n'
            f"<style>{style}</style>\n</head>\n<body>\n<main class='page'>\n<h1>Faults of {name}</h1>\n"
            f"{section(coverage)}\n</main>\n</body>\n</html>\n"
        )
        .encode("utf-8", "backslashreplace")
        .decode()
    )


def _summary(failure: Failure) -> str:
    """Format the first paragraph, with source text as code."""
    paragraph = summary(failure, stories.read(failure.outcome.events, failure.outcome.nodes))
    return re.sub("`([^`]*)`", r"<code>\1</code>", escape(paragraph))


def _kinds(failure: Failure) -> str:
    """Format the meaning of each kind of fault in the history, those of the plan first."""
    marks = stories.read(failure.outcome.events).faults
    marks.sort(key=lambda mark: mark.address not in failure.decisions)
    kinds = dict.fromkeys(mark.kind for mark in marks if mark.kind in KINDS)
    return "".join(f"<div><dt>{escape(kind)}</dt><dd>{escape(KINDS[kind])}</dd></div>" for kind in kinds)


def _errors(failure: Failure) -> str:
    """Format the errors of failed jobs, if the violation concerns no single job."""
    found = errors(failure)
    lines = [str(error) for error in found[:ERRORS]]
    if len(found) > len(lines):
        lines.append(f"and {len(found) - len(lines)} more jobs")
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="errors" aria-label="Errors of jobs">{items}</ul>' if items else ""


def _part(name: str) -> str:
    return files("zeke_sim.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def embedded(data: object) -> str:
    """Format data as JSON that is safe inside a script element: no text in it can end the element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def payload(failure: Failure) -> dict[str, Any]:
    """Collect the data of the page, with tracks and jobs as numbers, and times in seconds.

    The last entry of ``events`` has the additional kind ``violation`` and marks the end of the history.
    """
    history, broken = failure.outcome.events, failure.violation
    story = stories.read(history, failure.outcome.nodes)
    track = {name: number for number, name in enumerate(story.tracks)}
    if broken.job is not None:
        story.jobs.setdefault(broken.job, "unknown")
    job = {id_: number for number, id_ in enumerate(story.jobs)}
    of_job = [] if broken.job is None else [job[broken.job]]
    violation: dict[str, Any] = {"kind": "violation", "at": broken.at, "since": broken.since}
    violation |= {"rule": broken.rule, "text": broken.text}
    return {
        "epoch": failure.outcome.epoch.timestamp(),
        "since": broken.since,
        "at": broken.at,
        "job": None if broken.job is None else job[broken.job],
        "end": _time(max(story.end, broken.at)),
        "knots": _knots(failure, story),
        "tracks": story.tracks,
        "jobs": [[str(id_), as_json.short(id_), task] for id_, task in story.jobs.items()],
        "decisions": _decisions(failure, story),
        "faultKinds": {mark.kind: KINDS[mark.kind] for mark in story.faults if mark.kind in KINDS},
        "events": [*as_json.events(history), violation],
        "lines": [*map(as_json.line, history), f"{broken.rule}: {broken.text}"],
        "trackOf": [*(track[name] for name in story.track_of), track[stories.DATABASE]],
        "jobsOf": [*([job[id_] for id_ in touched] for touched in story.touched), of_job],
        "leases": _rows(story.leases, track, job),
        "works": _rows(story.works, track, job),
        "calls": _rows(story.calls, track, job),
        "spans": _rows(story.spans, track, job),
        "phases": _rows(story.phases, track, job),
        "faults": _rows(story.faults, track, job),
    }


def _rows(drawn: list[Any], track: Mapping[str, int], job: Mapping[Any, int]) -> list[dict[str, Any]]:
    """Convert named tuples to objects, with the node (as ``track``) and the job as numbers."""
    rows: list[dict[str, Any]] = []
    for one in drawn:
        row: dict[str, Any] = {name: getattr(one, name) for name in one._fields if name != "task"}
        row["track"] = track[row.pop("node")]
        row["since"] = _time(row["since"])
        if (until := row.get("until")) is not None:
            row["until"] = _time(until) if math.isfinite(until) else None
        if "job" in row:
            row["job"] = job[row["job"]]
        rows.append(row)
    return rows


def _knots(failure: Failure, story: Story) -> list[list[float]]:
    times = {0.0, story.end, failure.violation.since, failure.violation.at}
    times |= {event.at for event in failure.outcome.events}
    return [[_time(time), _time(place)] for time, place in stories.squeeze(times)]


def _decisions(failure: Failure, story: Story) -> list[dict[str, Any]]:
    """List the plan's decisions in order; those that are faults in the history refer to their events."""
    first = {mark.address: mark.first for mark in reversed(story.faults)}
    decisions = [
        {"address": address, "text": decided(decision), "first": first.get(address)}
        for address, decision in failure.decisions.items()
    ]
    return sorted(decisions, key=lambda one: math.inf if one["first"] is None else one["first"])


def _time(time: float) -> float:
    return round(time, DIGITS)
