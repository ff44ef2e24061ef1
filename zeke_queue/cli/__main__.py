"""``python -m zeke_queue.cli``: the command line, where the ``zeke`` script is not on the path."""

from __future__ import annotations

from zeke_queue.cli import main

main()
