-- Deletes those of these jobs that have ended, live or archived, with their events; returns their ids. A job
-- that its parent has waited for is kept until that one has ended, whose next attempt asks for the outcome.
with ended (id, parent) as (
    select
        job.id,
        case when job.awaited then job.parent end
    from {schema}.job
    where job.id = any(%(ids)s::uuid[]) and job.state > 'active'
    union all
    select
        archive.id,
        case when archive.awaited then archive.parent end
    from {schema}.archive
    where archive.id = any(%(ids)s::uuid[])
),

chosen as materialized (
    select ended.id
    from ended
    where
        not exists (
            select from {schema}.job
            where job.id = ended.parent and job.state <= 'active'
        )
),

gone as (
    delete from {schema}.job
    where job.id = any(array(select chosen.id from chosen)) and job.state > 'active'
    returning job.id
),

gone_from_archive as (
    delete from {schema}.archive
    where archive.id = any(array(select chosen.id from chosen))
    returning archive.id
),

deleted as (
    select id from gone
    union
    select id from gone_from_archive
),

events as (
    delete from {schema}.job_event
    where job_id = any(array(select deleted.id from deleted))
)

select deleted.id
from deleted
