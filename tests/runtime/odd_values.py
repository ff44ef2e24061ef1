"""Values that hardly any code expects, and tables of them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, model_serializer


class Unprintable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


class Unwritable(BaseModel):
    @model_serializer
    def _write(self) -> dict[str, Any]:
        raise ZeroDivisionError


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def wrong_values(table: dict[str, list[Any]]) -> dict[str, tuple[str, Any]]:
    """Return a case for each value of each field; some values have no text that a label could show."""
    return {f"{field} {n}": (field, value) for field, them in table.items() for n, value in enumerate(them)}
