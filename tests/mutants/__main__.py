"""Plant bugs in the runtime, one at a time, and search for each; exit with 1 if one is not found."""

from __future__ import annotations

import sys

from tests.mutants.run import main

sys.exit(main())
