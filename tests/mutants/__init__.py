"""Bugs that were planted to test the tests: each of ``bugs/*.toml`` has to be found by what it names."""
