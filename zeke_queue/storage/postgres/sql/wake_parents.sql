-- Lets jobs go on whose child has ended. One that another transaction has locked is being cancelled, or is
-- changed by hand; should that come to nothing, the next sweep finds it.
with done as (
    update {schema}.job
    set startafter = coalesce(%(now)s::timestamptz, statement_timestamp()), waitsfor = null
    from (
        select waiting.id
        from {schema}.job as waiting
        where waiting.waitsfor = any(%(ids)s::uuid[]) and waiting.state < 'active'
        order by waiting.id
        for no key update skip locked
    ) as parent
    where job.id = parent.id
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
