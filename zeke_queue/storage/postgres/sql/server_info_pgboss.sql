-- Seconds since a pg-boss on these tables last did its maintenance, and its cron; null if it never did.
select
    extract(
        epoch from coalesce(%(now)s::timestamptz, statement_timestamp()) - max(maintained_on)
    )::float8 as maintained,
    extract(epoch from coalesce(%(now)s::timestamptz, statement_timestamp()) - max(cron_on))::float8 as cron
from {schema}.version
