-- Returns a job, the one for which it waits, the one for which that waits, and so on. The chain ends with the
-- first job that waits for none, with the job that is about to wait, or after the given number of jobs.
with recursive chain as (
    select
        job.id,
        job.waitsfor,
        job.state,
        1 as place
    from {schema}.job
    where job.id = %(child)s::uuid
    union all
    select
        job.id,
        job.waitsfor,
        job.state,
        chain.place + 1 as place
    from chain
    inner join {schema}.job on job.id = any(array[chain.waitsfor])
    where
        chain.state::text in ('created', 'retry')
        and chain.id <> %(id)s::uuid
        and chain.place < %(limit)s::int
)

select chain.id
from chain
order by chain.place
