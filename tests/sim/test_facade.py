"""The two test interfaces: every call of one is a call of the other."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

from zeke_sim.testing.facade import BlockingZeke, Zeke

if TYPE_CHECKING:
    from collections.abc import Mapping


def calls(kind: type) -> dict[str, inspect.Signature]:
    """Return the signatures of a class's own public methods."""
    own = cast("Mapping[str, Any]", vars(kind))
    return {name: inspect.signature(member) for name, member in own.items() if name[0] != "_"}


def test_both_interfaces_have_the_same_signatures() -> None:
    blocking, awaited = calls(BlockingZeke), calls(Zeke)
    expected = {
        name: one.replace(return_annotation=f"Pending[{one.return_annotation}]")
        for name, one in blocking.items()
    }
    assert awaited == expected
