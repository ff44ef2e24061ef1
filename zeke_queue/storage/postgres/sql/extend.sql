-- Moves the deadlines of jobs that are active at the attempt named. The conditions are
-- explained in complete.sql.
update {schema}.job
set
    expirein = make_interval(
        secs => extract(
            epoch from coalesce(%(now)s::timestamptz, statement_timestamp()) - job.startedon
        )::float8
        + given.seconds
    )
from (
    select *
    from unnest(%(ids)s::uuid[], %(attempts)s::int[], %(lengths)s::float8[]) as asked (id, attempt, seconds)
    order by asked.id
) as given
where
    job.id = any(array[given.id])
    and job.attempt = given.attempt
    and job.state between 'active' and 'active'
returning job.id
