"""Settings: the names of the variables, and the error for an invalid value."""

from __future__ import annotations

import pytest

from tests.cases import check_each
from zeke_queue.errors import SettingsError
from zeke_queue.system.settings import Settings

SECRET = "hunter2"
DSN = f"postgresql://zeke:{SECRET}@db.example:5432/zeke"


def test_documented_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PRIMARY_URL", DSN)
    monkeypatch.setenv("JOBS_CRON_TZ", "Europe/Berlin")

    settings = Settings.load()

    assert settings.require_database() == DSN
    assert settings.jobs_cron_tz == "Europe/Berlin"


def test_defaults_are_the_documented_ones() -> None:
    settings = Settings.load()

    assert settings.jobs_cron_tz == "UTC"
    assert settings.jobs_schema == "pgboss"
    assert settings.jobs_archive_after == 24 * 3600
    assert settings.jobs_delete_after == 7 * 24 * 3600


def test_missing_database_is_an_error_with_a_remedy() -> None:
    with pytest.raises(SettingsError, match=r"DATABASE_PRIMARY_URL=postgresql://.*--embedded"):
        Settings.load().require_database()


def test_value_given_in_code_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBS_CONCURRENCY", "3")
    assert Settings.load().jobs_concurrency == 3
    assert Settings.load(jobs_concurrency=4).jobs_concurrency == 4


def test_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PRIMARY_URL", "")
    monkeypatch.setenv("JOBS_CRON_TZ", "")
    assert Settings.load().database_primary_url is None
    assert Settings.load().jobs_cron_tz == "UTC"


def test_invalid_value_is_refused_with_variable_and_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(variable: str, value: str, hint: str) -> None:
        with monkeypatch.context() as patched:
            patched.setenv(variable, value)
            with pytest.raises(SettingsError) as caught:
                Settings.load()
        assert variable in str(caught.value)
        assert hint in str(caught.value)

    dsn, days = "DATABASE_PRIMARY_URL", "less than or equal"
    cases = [
        ("JOBS_CRON_TZ", "Mars/Base", "Europe/Berlin"),
        ("JOBS_CONCURRENCY", "many", "integer"),
        ("JOBS_CONCURRENCY", "-1", "greater than or equal to 0"),
        ("JOBS_PAYLOAD_BUDGET", "0", "greater than or equal to 1"),
        ("JOBS_LISTEN", "perhaps", "boolean"),
        ("JOBS_POLL_INTERVAL", "-1", "greater than or equal to 0.001"),
        ("LOG_FORMAT", "xml", "'auto', 'json' or 'text'"),
        ("LOG_LEVEL", "loud", "'debug'"),
        *((dsn, value, "postgresql://") for value in ("postgresql+psycopg://u@h/d", "mysql://u@h/d")),
        (dsn, "zeke", "dbname="),
        ("JOBS_ARCHIVE_AFTER", "inf", days),
        ("JOBS_DELETE_AFTER", "1e300", days),
        ("JOBS_POOL_MAX", "1", "greater than or equal to 2"),
    ]
    check_each(cases, check)


def test_all_invalid_values_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBS_POLL_INTERVAL", "soon")
    monkeypatch.setenv("JOBS_SHUTDOWN_TIMEOUT", "later")
    with pytest.raises(SettingsError, match=r"(?s)JOBS_POLL_INTERVAL.*JOBS_SHUTDOWN_TIMEOUT"):
        Settings.load()


def test_unknown_setting_is_refused_in_code() -> None:
    with pytest.raises(
        SettingsError, match=r"JOBS_CONCURENCY: must be one of the settings .*JOBS_CONCURRENCY"
    ):
        Settings.load(jobs_concurency=3)


def test_heartbeat_of_more_than_half_the_lease_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"JOBS_HEARTBEAT_INTERVAL.*JOBS_LEASE"):
        Settings.load(jobs_heartbeat_interval=10, jobs_lease=15)


def test_pool_maximum_below_its_minimum_is_refused() -> None:
    with pytest.raises(SettingsError, match="JOBS_POOL_MIN"):
        Settings.load(jobs_pool_min=5, jobs_pool_max=2)


def test_log_settings_may_be_written_in_capitals() -> None:
    assert Settings.load(log_level="INFO").log_level == "info"


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"sk-{SECRET}")
    settings = Settings.load(database_primary_url=DSN)
    for shown in (repr(settings), str(settings), str(settings.model_dump())):
        assert SECRET not in shown


def test_invalid_connection_string_is_not_repeated_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(dsn: str) -> None:
        monkeypatch.setenv("DATABASE_PRIMARY_URL", dsn)
        with pytest.raises(SettingsError) as caught:
            Settings.load()
        assert SECRET not in str(caught.value)
        # A chained error would be printed with it, and with the value.
        assert caught.value.__suppress_context__

    cases = [
        f"mysql://ann:{SECRET}@h/d",
        f"postgresql://ann:{SECRET}/x@h/d",  # read as a host "ann" with a port of that name
        f"postgresql://ann:x@{SECRET}@h/d",  # read as a host of that name
        f"postgresql://ann:{SECRET} x@h/d",
        f"postgresql://ann:%zz{SECRET}@h/d",
        f"host=h password=x {SECRET}",
        f"host=h pasword={SECRET}",
        f"host=h port={SECRET}",
    ]
    check_each(cases, check)


def test_connection_string_is_accepted_as_libpq_accepts_it() -> None:
    def check(dsn: str) -> None:
        assert Settings.load(database_primary_url=dsn).require_database() == dsn

    cases = [
        "postgresql://ann:%40%2F@h:5432/d?sslmode=require",
        "postgres://h",
        "postgresql:///d?host=/run/postgresql&port=5433",
        "postgresql://a:1,b:2/d?target_session_attrs=read-write",
        "host=h port=5432 dbname='my jobs'",
    ]
    check_each(cases, check)


def test_settings_on_another_database_keep_the_rest() -> None:
    settings = Settings.load(jobs_schema="boss", database_primary_url=DSN)
    moved = settings.on_database("host=elsewhere dbname=zeke")
    assert moved.require_database() == "host=elsewhere dbname=zeke"
    assert moved.jobs_schema == "boss"
