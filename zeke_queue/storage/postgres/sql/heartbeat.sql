-- Records that a worker is alive, deletes those that have been dead for a day, and returns its jobs.
with noted as (
    insert into {schema}.worker (id, host, pid, queues, duties, lease, started_on, beat_on)
    values (
        %(worker)s::uuid,
        %(host)s::text,
        %(pid)s::int,
        %(queues)s::text[],
        %(duties)s::text[],
        %(lease)s::bigint * interval '1 microsecond',
        coalesce(%(now)s::timestamptz, statement_timestamp()),
        coalesce(%(now)s::timestamptz, statement_timestamp())
    )
    on conflict (id) do update set
    host = excluded.host,
    pid = excluded.pid,
    queues = excluded.queues,
    duties = excluded.duties,
    lease = excluded.lease,
    beat_on = excluded.beat_on
),

-- Each start of a worker has a row, which a killed one can't delete.
forgotten as (
    delete from {schema}.worker
    where ctid = any(array(
        select dead.ctid
        from {schema}.worker as dead
        where
            dead.id <> %(worker)s::uuid
            and dead.beat_on + dead.lease
            < coalesce(%(now)s::timestamptz, statement_timestamp()) - interval '24 hours'
        for update skip locked
    ))
)

select
    id,
    attempt
from {schema}.job
where state = 'active' and worker = %(worker)s::uuid
