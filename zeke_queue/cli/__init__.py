"""The command line: ``zeke``.

Exit codes: 0 success, 1 failure, 2 usage error. Output is readable text, or JSON with ``--json``.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line (the ``zeke`` script)."""
    from zeke_queue.cli.app import run

    run()
