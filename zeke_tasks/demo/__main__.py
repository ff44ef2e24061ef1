"""``python -m zeke_tasks.demo``, which is ``zeke demo``."""

from __future__ import annotations

import typer

from zeke_tasks.cli.demo import demo

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(demo)
app(prog_name="zeke demo")
