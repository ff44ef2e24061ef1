-- Resumes jobs whose child has ended, and skips those that another transaction has locked: waiting for it
-- while holding locks could deadlock. The next sweep finds those.
with done as (
    update {schema}.job
    set startafter = coalesce(%(now)s::timestamptz, statement_timestamp()), waitsfor = null
    from (
        select waiting.id
        from (
            select * from unnest(%(ids)s::uuid[]) as asked (id)
            order by asked.id
        ) as ended
        cross join lateral (
            select job.id
            from {schema}.job
            where job.waitsfor = any(array[ended.id]) and job.state::text in ('created', 'retry')
            for no key update skip locked
        ) as waiting
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
