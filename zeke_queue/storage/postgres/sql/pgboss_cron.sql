-- Seconds since a pg-boss on these tables last did its cron, or null.
select extract(epoch from coalesce(%(now)s::timestamptz, statement_timestamp()) - max(cron_on))::float8
from {schema}.version
