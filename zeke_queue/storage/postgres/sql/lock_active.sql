-- Locks, in the order of their ids, the jobs that are active at the attempts named; no others, which
-- somebody may be about to claim.
select locked.id
from (
    select
        asked.id,
        asked.attempt
    from unnest(%(ids)s::uuid[], %(attempts)s::int[]) as asked (id, attempt)
    order by asked.id
) as given
cross join lateral (
    select job.id
    from {schema}.job
    where
        job.id = any(array[given.id])
        and job.attempt = given.attempt
        and job.state between 'active' and 'active'
    for update
) as locked
