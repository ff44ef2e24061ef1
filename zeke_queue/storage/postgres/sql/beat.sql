-- Notes that a worker lives, and returns what it holds.
with noted as (
    insert into {schema}.worker (id, host, pid, queues, lease, started_on, beat_on)
    values (
        %(worker)s::uuid,
        %(host)s::text,
        %(pid)s::int,
        %(queues)s::text[],
        %(lease)s::bigint * interval '1 microsecond',
        coalesce(%(now)s::timestamptz, statement_timestamp()),
        coalesce(%(now)s::timestamptz, statement_timestamp())
    )
    on conflict (id) do update set
    host = excluded.host,
    pid = excluded.pid,
    queues = excluded.queues,
    lease = excluded.lease,
    beat_on = excluded.beat_on
)

select
    id,
    attempt
from {schema}.job
where state = 'active' and worker = %(worker)s::uuid
