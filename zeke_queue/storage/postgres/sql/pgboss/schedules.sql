-- Lists the schedules of pg-boss, with the columns of its version, and whether its cron has run recently.
select
    to_jsonb(schedule) - 'data' as schedule,
    schedule.data::text as payload,
    coalesce(version.cron_on > statement_timestamp() - interval '2 minutes', false) as running
from {schema}.schedule as schedule, {schema}.version as version
order by to_jsonb(schedule) ->> 'name', to_jsonb(schedule) ->> 'key'
