select
    event.job_id,
    event.attempt,
    event.kind,
    event.data,
    event.seq,
    event.at
from unnest(%(ids)s::uuid[], %(afters)s::bigint[]) as asked (id, after)
cross join lateral (
    select
        job_id,
        attempt,
        kind,
        data,
        seq,
        at
    from {schema}.job_event
    where job_event.job_id = asked.id and job_event.seq > asked.after
    order by seq
    limit %(share)s::int
) as event
order by event.seq
