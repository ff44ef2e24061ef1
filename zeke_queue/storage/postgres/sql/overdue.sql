-- Locks active jobs past their deadline, or whose worker is silent for longer than its lease, or gone.
select
    id,
    name,
    attempt,
    retrycount,
    retrylimit,
    retrydelay,
    retrybackoff,
    retrydelaymax,
    case
        when startedon + expirein < coalesce(%(now)s::timestamptz, statement_timestamp()) then 'deadline'
        else 'lease'
    end as reason,
    worker
from {schema}.job
where
    state = 'active'
    and startedon is not null
    and (
        startedon + expirein < coalesce(%(now)s::timestamptz, statement_timestamp())
        -- A worker of pg-boss 9 has no lease to lose.
        or worker is not null and not exists (
            select from {schema}.worker as alive
            where
                alive.id = job.worker
                and alive.beat_on + alive.lease >= coalesce(%(now)s::timestamptz, statement_timestamp())
        )
    )
order by startedon + expirein, id
limit {limit}
for update of job skip locked
