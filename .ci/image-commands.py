"""Ask every command of ``zeke`` for its help, as the image answers it; exit with 1 if one does not answer.

Runs inside the image: ``docker run --rm -i IMAGE python - <.ci/image-commands.py``.
"""

import subprocess
import sys
from importlib.metadata import entry_points

from typer.main import get_command

from zeke_queue.cli.app import app

added = [point.name for point in entry_points(group="zeke.commands")]
own = list(get_command(app).commands)
failed = 0
for arguments in ([], *([name] for name in sorted({*own, *added}))):
    asked = subprocess.run(["zeke", *arguments, "--help"], capture_output=True, text=True, check=False)
    said = " ".join((asked.stdout + asked.stderr).split())
    good = asked.returncode == 0 and "Usage: " in said and "can't be loaded" not in said
    good = good and "Unavailable: " not in said
    failed += not good
    print(f"{'ok  ' if good else 'FAIL'} {' '.join(['zeke', *arguments, '--help'])}")
    if not good:
        print(asked.stdout, asked.stderr)
print(f"{len(own) + len(added) + 1 - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
