"""``zeke demo``: runs the whole catalog on a database and a site of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from zeke_tasks.cli.session import extras


def demo(
    workers: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=16, help="Worker processes.")] = 2,
    gap: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.0, help="Time between two requests to the site.")
    ] = 0.1,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the database running at the end.")] = False,
) -> None:
    """Start a private Postgres and a sample site, and turn its feeds into stories with briefs."""
    with extras():
        from zeke_tasks.demo.run import main  # noqa: PLC0415 - see the package

    raise typer.Exit(main(workers, gap, keep=keep))
