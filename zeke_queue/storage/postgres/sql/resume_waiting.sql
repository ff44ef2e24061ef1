-- Resumes jobs whose child has ended, or no longer exists, if they were skipped at its end. States are
-- compared as texts, which keeps the planner from the index of all waiting jobs.
with done as (
    update {schema}.job
    set startafter = coalesce(%(now)s::timestamptz, statement_timestamp()), waitsfor = null
    from (
        select waiting.id
        from {schema}.job as waiting
        where
            waiting.waitsfor is not null
            and waiting.state::text in ('created', 'retry')
            -- One index search each, for any number of waiting jobs.
            and (
                select true
                from {schema}.job as child
                where child.id = waiting.waitsfor and child.state < 'completed'
                limit 1 -- noqa: AM09
            ) is null
        order by waiting.waitsfor, waiting.id
        limit {limit}
        for no key update skip locked
    ) as parent
    where job.id = any(array[parent.id])
    returning job.id, job.name
),

woken as (
    select pg_notify(%(work_channel)s, due.name)
    from (select distinct name from done) as due
    where
        %(always)s::bool
        or exists (
            select from {schema}.worker
            where
                worker.asleep
                and due.name = any(worker.queues)
                and worker.beat_on + worker.lease >= coalesce(%(now)s::timestamptz, statement_timestamp())
        )
)

select
    id,
    (select count(*) from woken) as woken
from done
