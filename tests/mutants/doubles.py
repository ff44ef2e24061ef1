"""Mutants of typed doubles, of shrinking and of reports, with the tests that find them."""

from __future__ import annotations

from typing import Final

from tests.mutants.patching import Tested, tested

DOUBLES: Final[tuple[Tested, ...]] = (
    tested(
        "killed-sender-takes-its-request-back",
        "zeke_sim.testing.double",
        '    world.later(decision.get("wait", TRIP), arrive)\n',
        '    world.loop.call_later(decision.get("wait", TRIP), arrive)\n',
        "A request that is on its way when its sender is killed does not arrive.",
        "tests/sim/test_double.py",
        "-k",
        "arrives_although",
    ),
    tested(
        "lost-call-has-no-effect",
        "zeke_sim.testing.double",
        '        if fault == "call_refused":\n            world.later(back',
        '        if fault in {"call_refused", "call_lost"}:\n            world.later(back',
        "A call of a double whose answer is lost has no effect.",
        "tests/sim/test_double.py",
        "-k",
        "lost_answer",
    ),
    tested(
        "used-key-runs-again",
        "zeke_sim.testing.double",
        "                self._kept[place] = call.text, answer\n            return answer\n",
        "                pass\n            return answer\n",
        "A call with an idempotency key that was used before has its effect again.",
        "tests/sim/test_double.py",
        "-k",
        "with_a_key_is_answered",
    ),
    tested(
        "calls-have-no-effect",
        "zeke_sim.testing.double",
        "        if watch is not None and call.method not in self._reads:\n",
        "        if False:\n",
        "Calls of a double are not recorded as effects.",
        "tests/sim/test_double.py",
        "-k",
        "within_a_few_seeds",
    ),
    tested(
        "calls-of-a-double-itself-are-requests",
        "zeke_sim.testing.double",
        "        if isinstance(watch, _Request):  # the double's own method calls another one\n",
        "        if False:\n",
        "A method that another method of the double calls is a request, and an effect.",
        "tests/sim/test_double.py",
        "-k",
        "with_a_key_is_answered",
    ),
    tested(
        "superfluous-faults-stay",
        "zeke_sim.experiment.shrink",
        "    minimal = search.of_subsets()\n",
        "    minimal = True\n",
        "A shrunk plan has a fault without which it fails as well.",
        "tests/sim/test_ddmin.py",
        "-k",
        "removed",
    ),
    tested(
        "unproven-plans-called-minimal",
        "zeke_sim.experiment.shrink",
        "        return not self._budget.used_up or not self._faults()\n",
        "        return True\n",
        "A report does not say that the time limit came before each fault was tried.",
        "tests/sim/test_ddmin.py",
        "-k",
        "says_whether",
    ),
    tested(
        "kill-without-its-line",
        "zeke_sim.report.summary",
        "one.line is not None",
        "False",
        "The first paragraph does not say at which line a process was killed.",
        "tests/sim/test_report_summary.py",
        "-k",
        "with_its_line",
    ),
)
"""Each is found by its tests alone."""
