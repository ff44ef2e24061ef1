"""The command line: ``zeke``.

Exit codes: 0 done, 1 it failed, 2 the call was wrong. Output is for people, with ``--json`` for programs.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line (the ``zeke`` script)."""
    from zeke_queue.cli.app import run

    run()
