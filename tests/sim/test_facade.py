"""The two test interfaces: every call of one is a call of the other."""

from __future__ import annotations

import inspect
from typing import Any

from zeke_sim.testing.facade import BlockingZeke, Zeke
from zeke_sim.testing.pending import PendingSender


def calls(*kinds: type) -> dict[str, inspect.Signature]:
    """Return the signatures of the public methods that these classes define."""
    own: dict[str, Any] = {}
    for kind in kinds:
        own |= vars(kind)
    return {name: inspect.signature(member) for name, member in own.items() if name[0] != "_"}


def test_both_interfaces_have_the_same_signatures() -> None:
    blocking, awaited = calls(BlockingZeke), calls(PendingSender, Zeke)
    expected = {
        name: one.replace(return_annotation=f"Pending[{one.return_annotation}]")
        for name, one in blocking.items()
    }
    assert awaited == expected
