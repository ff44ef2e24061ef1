"""Bugs that are planted to test the tests: each in ``bugs/*.toml`` has to be found by its finder.

A bug has these fields:

name: such as ``retry-limit-off-by-one``.
file, old, new: a text of a file, which is there exactly once, and its replacement.
breaks: what that breaks, as a sentence, unless the name says it.
finder: the scenario of the simulator that finds it, or tests, as arguments of pytest.
property: the only property that the scenario is checked against, which shows that the property is needed.
faults: the only kinds of faults that happen in the scenario, which shows that these have an effect.
seeds: how many seeds of the scenario are searched at most, if more than usual.
"""
