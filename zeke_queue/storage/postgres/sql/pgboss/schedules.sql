-- Lists the schedules of pg-boss, with the columns of its version.
select
    to_jsonb(schedule) - 'data' as schedule,
    schedule.data::text as payload
from {schema}.schedule as schedule
order by to_jsonb(schedule) ->> 'name', to_jsonb(schedule) ->> 'key'
