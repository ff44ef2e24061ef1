"""Users' actions on the dashboard in a real browser: ``nox -s browser``."""
