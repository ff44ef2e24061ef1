"""``python -m zeke_tasks.demo``, which is ``zeke demo``."""

from __future__ import annotations

from zeke_tasks.cli import demo_app

demo_app(prog_name="zeke demo")
