-- Locks active jobs past their deadline, or whose worker is gone or has sent no heartbeat for longer than its
-- lease. A worker whose lease is at least as long as the time without an outage may be about to renew it, so
-- its jobs are left. A deadline out of the range of timestamps would fail every sweep, so durations are
-- limited to a century, and starts to the years 1 to 9999.
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
        when span.deadline < coalesce(%(now)s::timestamptz, statement_timestamp()) then 'deadline'
        else 'lease'
    end as reason,
    worker
from {schema}.job
cross join lateral (
    select
        least(greatest(startedon, timestamptz '0001-01-01 00:00+00'), timestamptz '9999-12-31 00:00+00')
        + least(greatest(expirein, interval '-876000 hours'), interval '876000 hours') as deadline
) as span
where
    state = 'active'
    and startedon is not null
    and (
        span.deadline < coalesce(%(now)s::timestamptz, statement_timestamp())
        -- A worker of pg-boss 9 has no lease to lose.
        or worker is not null and not exists (
            select from {schema}.worker as alive
            where
                alive.id = job.worker
                and (
                    alive.beat_on + alive.lease >= coalesce(%(now)s::timestamptz, statement_timestamp())
                    or alive.lease >= %(uptime)s::bigint * interval '1 microsecond'
                )
        )
    )
order by span.deadline, id
limit {limit}
for update of job skip locked
