"""The command line, called in this process; only where signals matter in one of its own."""
