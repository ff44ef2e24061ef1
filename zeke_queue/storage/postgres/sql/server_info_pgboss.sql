-- Seconds since a pg-boss on these tables last did its maintenance, and its cron; null if it never
-- did. And the names of its schedules that ours have too.
select
    extract(
        epoch from coalesce(%(now)s::timestamptz, statement_timestamp()) - max(maintained_on)
    )::float8 as maintained,
    extract(epoch from coalesce(%(now)s::timestamptz, statement_timestamp()) - max(cron_on))::float8 as cron,
    array(
        select node.name
        from {schema}.schedule as node
        inner join {schema}.zeke_schedule as ours on node.name = ours.name
        order by node.name
    ) as doubled
from {schema}.version
