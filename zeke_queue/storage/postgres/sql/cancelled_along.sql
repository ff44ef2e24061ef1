-- Returns cancelled jobs, with the children that they wait for and that were cancelled with or after them.
-- For the offset see children.sql.
with recursive family (id, completedon) as (
    select
        job.id,
        job.completedon
    from {schema}.job
    where job.id = any(%(ids)s::uuid[]) and job.state::text = 'cancelled'
    union
    select
        child.id,
        child.completedon
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

select id from family
