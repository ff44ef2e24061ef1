"""What the tests of the worker need: a place to work at, storages that fail, and tasks in modules."""
