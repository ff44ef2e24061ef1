-- Deletes those of these jobs that have ended, live or archived, with their events; returns their ids. A job
-- that its parent has waited for is kept until that one has ended, whose next attempt asks for the outcome:
-- whether it has waited is read once the row is locked.
with live as materialized (
    select
        job.id,
        case when job.awaited then job.parent end as parent
    from {schema}.job
    where job.id = any(%(ids)s::uuid[]) and job.state > 'active'
    order by job.id
    for update
),

ended as (
    select
        live.id,
        live.parent,
        true as is_live
    from live
    union all
    select
        archive.id,
        case when archive.awaited then archive.parent end,
        false
    from {schema}.archive
    where archive.id = any(%(ids)s::uuid[])
),

chosen as materialized (
    select
        ended.id,
        ended.is_live
    from ended
    where
        (
            select true from {schema}.job
            where job.id = ended.parent and job.state <= 'active'
            limit 1 -- noqa: AM09
        ) is null
),

gone as (
    delete from {schema}.job
    where job.id = any(array(select chosen.id from chosen where chosen.is_live))
    returning job.id
),

gone_from_archive as (
    delete from {schema}.archive
    where archive.id = any(array(select chosen.id from chosen where not chosen.is_live))
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
