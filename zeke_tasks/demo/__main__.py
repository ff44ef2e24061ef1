"""``python -m zeke_tasks.demo``, the same as ``zeke demo``."""

from __future__ import annotations

import sys

import typer

from zeke_queue.cli.app import FAILED, WRONG
from zeke_queue.cli.session import Options, print_error
from zeke_queue.errors import UsageError, ZekeError
from zeke_tasks.demo.command import demo

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(demo)
try:
    app(prog_name="zeke demo")
except ZekeError as error:
    print_error(error, Options())
    sys.exit(WRONG if isinstance(error, UsageError) else FAILED)
