-- Deletes those of these jobs that have ended, live or archived, with their events; returns their ids. A job
-- that its parent has waited for is kept until that one has ended, whose next attempt asks for the outcome.
with gone as (
    delete from {schema}.job
    where
        job.id = any(%(ids)s::uuid[])
        and job.state > 'active'
        and not (
            job.awaited
            and exists (
                select from {schema}.job as parent
                where parent.id = job.parent and parent.state <= 'active'
            )
        )
    returning job.id
),

gone_from_archive as (
    delete from {schema}.archive
    where
        archive.id = any(%(ids)s::uuid[])
        and not (
            archive.awaited
            and exists (
                select from {schema}.job as parent
                where parent.id = archive.parent and parent.state <= 'active'
            )
        )
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
