-- Returns the private queues with jobs that have not ended. Their names share a prefix, so they are together
-- in the indexes: steps from one to the next, and reads no job of other queues.
with recursive waiting (name) as (
    (
        select job.name
        from {schema}.job
        where job.state < 'active' and job.name collate "C" >= %(first)s and job.name collate "C" < %(beyond)s
        order by job.name collate "C"
        limit 1
    )
    union all
    select next.name
    from waiting
    cross join lateral (
        select job.name
        from {schema}.job
        where
            job.state < 'active'
            and job.name > waiting.name collate "C"
            and job.name collate "C" < %(beyond)s
        order by job.name collate "C"
        limit 1
    ) as next
)

select waiting.name
from waiting
union
select job.name
from {schema}.job
where job.state = 'active' and job.name collate "C" >= %(first)s and job.name collate "C" < %(beyond)s
