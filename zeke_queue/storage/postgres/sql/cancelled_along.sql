-- Returns cancelled jobs, with the children that they wait for and that were cancelled with or after them.
-- Each comes with the parent that brings it back; one that was asked for, with none. For the offset see
-- children.sql.
with recursive family (id, completedon, parent) as (
    select
        job.id,
        job.completedon,
        null::uuid
    from {schema}.job
    where job.id = any(%(ids)s::uuid[]) and job.state::text = 'cancelled'
    union
    select
        child.id,
        child.completedon,
        family.id
    from family
    cross join lateral (
        select
            job.id,
            job.completedon
        from {schema}.job
        where
            job.parent = any(array[family.id])
            and job.awaited
            and job.state::text = 'cancelled'
            and family.completedon <= job.completedon
        offset 0
    ) as child
)

select
    id,
    parent
from family
