-- Returns the jobs that wait or run and whose parents, these, wait for them. The offset keeps the planner
-- from turning the look at each parent's children into a look at everybody's.
select child.id
from unnest(%(ids)s::uuid[]) as given (id)
cross join lateral (
    select job.id
    from {schema}.job
    where
        job.parent = any(array[given.id])
        and job.awaited
        and job.state::text in ('created', 'retry', 'active')
    offset 0
) as child
