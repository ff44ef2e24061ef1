"""What the shop needs of a payment provider."""

from __future__ import annotations

from typing import Protocol


class Declined(Exception):
    """The customer's bank says no; asking again won't help."""


class Unavailable(Exception):
    """The provider can't be reached, or is too busy."""


class Payments(Protocol):
    """A payment provider's client."""

    async def charge(self, customer: str, cents: int, *, key: str) -> str:
        """Charge a customer, and return the payment's id.

        Args:
            customer: the payer.
            cents: how much.
            key: two charges with one key count as one, so that a call can be repeated safely.

        Raises:
            Declined, Unavailable: it was not charged, as far as is known.
        """
        ...
