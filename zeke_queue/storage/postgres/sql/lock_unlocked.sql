-- Locks those of the given jobs that are active at the given attempts and not locked by another transaction,
-- without waiting. Returns all that are active at the given attempts, each with whether this transaction
-- locked it.
select
    active.id,
    free.id is not null as free
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
        job.id = given.id
        and job.attempt = given.attempt
        and job.state between 'active' and 'active'
    limit 1
) as active
left join lateral (
    select job.id
    from {schema}.job
    where
        job.id = active.id
        and job.attempt = given.attempt
        and job.state between 'active' and 'active'
    for no key update skip locked
) as free on true
