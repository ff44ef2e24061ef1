-- Returns the waiting or running jobs for which these parents wait. The offset keeps the planner from reading
-- the children of all parents instead of each one's.
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
