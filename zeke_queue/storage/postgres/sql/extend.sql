-- Moves the deadlines of jobs that are active at the attempt named. The conditions are
-- explained in complete.sql.
update {schema}.job
set
    -- In microseconds alone: a difference of times has days, which are of another length in other zones.
    expirein = (
        case
            when isfinite(job.startedon)
                then extract(epoch from coalesce(%(now)s::timestamptz, statement_timestamp()) - job.startedon)
            else 0
        end * 1000000
        + given.length
    )::float8 * interval '1 microsecond'
from (
    select *
    from unnest(%(ids)s::uuid[], %(attempts)s::int[], %(lengths)s::bigint[]) as asked (id, attempt, length)
    order by asked.id
) as given
where
    job.id = any(array[given.id])
    and job.attempt = given.attempt
    and job.state between 'active' and 'active'
returning job.id
