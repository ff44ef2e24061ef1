"""Jobs and an application's own rows that are written together, or not at all.

Shops place orders: each is a row, and a job to ship it, in one transaction, which may wait before it commits,
or change its mind and roll back; it may send under a key that another shop's open transaction has taken, and
cancel an earlier order's job in another transaction. Shipping an order marks its row and sends a child that
notifies the customer, in one transaction of the job, which only its owner can commit; some attempts fail
within it, after the send, and some after the commit. Answers of commits get lost, the server goes away with
transactions open, processes die in them. A client that does not know the outcome of a transaction repeats it:
everything is keyed by the order, so that it happens once.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pydantic import BaseModel

from tests.tables import Table
from tests.workloads import doing, leased, own_id
from zeke_queue.client.parts import parts_of
from zeke_queue.core import jsonb
from zeke_queue.errors import JobConflictError
from zeke_queue.model import RowState
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.history.events import Change, Effect
from zeke_sim.history.state import Broken, End, RunState
from zeke_sim.properties import ALL, holds
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.workloads import Action
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Node
    from zeke_sim.world.world import World

PHASE: Final = 45.0


class Shipping(BaseModel):
    """The payload of ``ship``: the order, and in which of its attempts it fails, and where."""

    order: str
    fails_inside: list[int] = []
    fails_after: list[int] = []
    thinks: float = 0.0


class Notice(BaseModel):
    """The payload of ``notify``."""

    order: str


class ChangedItsMind(Exception):
    """Rolls a transaction back."""


@dataclass(frozen=True, slots=True)
class Placing:
    """One transaction of a shop.

    Attributes:
        shipments: the orders that it places, each with its job's id.
        thinks: seconds before it ends.
        changes_its_mind: whether it rolls back.
        key: the singleton key of its first shipment, over which shops meet; None for none.
        takes_back: a shipment that it cancels, if that has not run yet.
    """

    shipments: tuple[tuple[Shipping, UUID], ...]
    thinks: float
    changes_its_mind: bool
    key: str | None
    takes_back: UUID | None

    def settle(self) -> None:
        """Raise what rolls the transaction back, if it does."""
        if self.changes_its_mind:
            raise ChangedItsMind


class Orders:
    """The application: its table of orders, and its tasks."""

    def __init__(self) -> None:
        self.table: Table[str] = Table(self._written)
        self._tell: Callable[[str], None] | None = None
        self.catalog = Catalog()
        self.catalog.task("ship", retry_limit=3, retry_delay=1, retry_delay_max=3, expire_in=20.0)(self.ship)
        self.catalog.task("notify", retry_limit=1)(self.notify)

    def settle_in(self, world: World) -> None:
        """Record committed rows in a world's history."""
        self._tell = lambda key: world.recorder.add(Effect(world.time(), "db", None, 0, key, alive=True))

    def _written(self, order: str, state: str) -> None:
        if self._tell is not None:
            self._tell(f"{order} is {state}")

    async def place(self, node: Node, placing: Placing) -> None:
        """Place orders, and repeat until that is confirmed; orders placed already stay."""
        # A send is refused without a run if one job after the other holds its key; then nothing is placed.
        with suppress(ChangedItsMind, JobConflictError):
            async with node.queue.transaction() as transaction:
                rows = self.table.within(transaction)
                known = [await rows.lock(shipping.order) for shipping, _ in placing.shipments]
                for place, (shipping, job) in enumerate(placing.shipments):
                    if known[place] is None:
                        key = None if place else placing.key
                        if (await transaction.send("ship", shipping, id=job, singleton_key=key)).created:
                            rows.put(shipping.order, "placed")
                await asyncio.sleep(placing.thinks)
                placing.settle()
        if placing.takes_back is not None:
            async with parts_of(node.queue).storage.transaction() as transaction:
                await transaction.cancel([placing.takes_back])
                await asyncio.sleep(placing.thinks / 2)

    async def ship(self, shipping: Shipping, job: JobContext) -> str:
        """Mark an order as shipped and notify its customer in one transaction; a marked order is done."""
        async with job.transaction() as transaction:
            rows = self.table.within(transaction)
            if await rows.lock(shipping.order) == "placed":
                rows.put(shipping.order, f"shipped by {job.attempt}")
                await transaction.send("notify", Notice(order=shipping.order))
            await asyncio.sleep(shipping.thinks)
            if job.attempt in shipping.fails_inside:
                raise RuntimeError("the shipment fails before it is kept")
        if job.attempt in shipping.fails_after:
            raise RuntimeError("the shipment fails when it is kept already")
        return shipping.order

    async def notify(self, notice: Notice) -> str:
        """Tell a customer."""
        return notice.order


@holds("an order and its job are one", Effect, Change, End)
def an_order_and_its_job_are_one(event: Effect | Change | End, state: RunState) -> None:
    """An order is in the table exactly if its shipment is, or was, a job: both are committed together."""
    seen = state.of("orders", _Seen)
    if isinstance(event, Effect):
        order, _, mark = event.key.partition(" is ")
        (seen.placed if mark == "placed" else seen.shipped).setdefault(order, event.at)
    elif isinstance(event, Change):
        row = event.after
        if row is not None and event.before is None and event.table == "job":
            jobs = seen.shipments if row.name == "ship" else seen.notices
            jobs.setdefault(_order_of(row.data), []).append(event.at)
    else:
        _compare("its row", seen.placed, "its shipment", seen.shipments)
        _compare("its mark", seen.shipped, "its notice", seen.notices)


@dataclass(slots=True)
class _Seen:
    """When each order was placed and shipped, and when each job about it came to be."""

    placed: dict[str, float]
    shipped: dict[str, float]
    shipments: dict[str, list[float]]
    notices: dict[str, list[float]]

    def __init__(self) -> None:
        self.placed, self.shipped, self.shipments, self.notices = {}, {}, {}, {}


def _compare(row: str, rows: dict[str, float], job: str, jobs: dict[str, list[float]]) -> None:
    for order in [*rows, *(order for order in jobs if order not in rows)]:
        at, times = rows.get(order), jobs.get(order, [])
        if times != [at]:
            raise Broken(f"{order}: {row} is of {at} s, and {job} of {times}", since=at)


@holds("what was kept was told", Effect, Change)
def what_was_kept_was_told(event: Effect | Change, state: RunState) -> None:
    """A shipment that completes has its mark by then, so that its customer is notified."""
    marked = state.of("marked orders", set[str])
    if isinstance(event, Effect):
        order, _, mark = event.key.partition(" is ")
        if mark != "placed":
            marked.add(order)
        return
    row = event.after
    if row is not None and row.name == "ship" and row.state is RowState.COMPLETED:
        order = _order_of(row.data)
        if order not in marked:
            raise Broken(f"{order}: shipped, and not marked", job=row.id)


@holds("only the owner of a job commits for it", Effect)
def only_the_owner_of_a_job_commits_for_it(event: Effect, state: RunState) -> None:
    """An order is marked only by the attempt that is active when the mark is committed."""
    order, _, attempt = event.key.partition(" is shipped by ")
    if attempt:
        shipments = [
            row for row in state.live.values() if row.name == "ship" and _order_of(row.data) == order
        ]
        if [(str(row.state), str(row.attempt)) for row in shipments] != [("active", attempt)]:
            raise Broken(f"{order}: marked by attempt {attempt}, which has lost the job", since=event.at)


def _order_of(data: str | None) -> str:
    payload: Any = None if data is None else jsonb.loads(data)
    return str(payload["order"])


def _placing(draws: RandomStream, name: str, number: int, earlier: list[UUID]) -> Placing:
    shipments: list[tuple[Shipping, UUID]] = []
    for place in range(1 + draws.below(2)):
        shipping = Shipping(
            order=f"{name}-{number}-{place}",
            fails_inside=[1] if draws.chance(0.3) else [],
            fails_after=[attempt for attempt in (1, 2) if draws.chance(0.15)],
            thinks=draws.pick((0.0, 0.0, round(draws.uniform(0.0, 3.0), 2))),
        )
        shipments.append((shipping, own_id(draws)))
    takes_back = draws.pick(earlier) if earlier and draws.chance(0.3) else None
    earlier += [job for _, job in shipments]
    return Placing(
        tuple(shipments),
        thinks=draws.pick((0.0, round(draws.uniform(0.0, 4.0), 2))),
        changes_its_mind=draws.chance(0.25),
        key=draws.pick((None, "window", "window", "counter")),
        takes_back=takes_back,
    )


def build(draws: RandomStream) -> Setup:
    """Two or three shops over one table, two workers, a maintenance process."""
    orders = Orders()
    clients: dict[str, Any] = {}
    for name in ("c1", "c2", "c3")[: 2 + draws.below(2)]:
        actions: list[tuple[float, Action]] = []
        earlier: list[UUID] = []
        for number in range(2 + draws.below(3)):
            placing = _placing(draws, name, number, earlier)
            actions.append(
                (draws.uniform(0.0, 0.7 * PHASE), lambda node, placing=placing: orders.place(node, placing))
            )
        clients[name] = doing(actions)
    return Setup(
        orders.catalog,
        clients=clients,
        worker=leased(1 + draws.below(3)),
        phase=PHASE,
        archive_after=20.0,
        delete_after=20.0,
        before=orders.settle_in,
    )


SCENARIO = Scenario(
    __name__,
    "jobs and rows of the application's own are written together, or not at all",
    build,
    properties=(
        *ALL,
        an_order_and_its_job_are_one,
        what_was_kept_was_told,
        only_the_owner_of_a_job_commits_for_it,
    ),
)
