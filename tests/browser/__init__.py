"""What people do at the dashboard, done in a real browser: ``nox -s browser``."""
