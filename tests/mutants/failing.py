"""A test that fails, with a mutant and without: ``test_tested`` names it."""


def test_that_fails() -> None:
    raise AssertionError
