"""Ask every command of ``zeke`` for its help, as the image answers it; exit with 1 if one does not answer.

Runs inside the image: ``docker run --rm -i IMAGE python - <.ci/image-commands.py``.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points

from typer.main import get_command

from zeke_queue.cli.app import app

added = [point.name for point in entry_points(group="zeke.commands")]
own = list(get_command(app).commands)
calls = [["zeke", *name.split(), "--help"] for name in ("", *sorted({*own, *added}))]


def ask(call: list[str]) -> subprocess.CompletedProcess[str]:
    """Run one command."""
    return subprocess.run(call, capture_output=True, text=True, check=False)


failed = 0
with ThreadPoolExecutor(2) as pool:
    answers = list(pool.map(ask, calls))
for asked in answers:
    said = " ".join((asked.stdout + asked.stderr).split())
    good = asked.returncode == 0 and "Usage: " in said and "can't be loaded" not in said
    good = good and "Unavailable: " not in said
    failed += not good
    print(f"{'ok  ' if good else 'FAIL'} {' '.join(asked.args)}")
    if not good:
        print(asked.stdout, asked.stderr)
print(f"{len(calls) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
