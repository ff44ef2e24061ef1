-- Returns these queues, each with the session that has locked its row, or the row of the limit that it
-- shares, as far as that can be told: a prepared transaction has none, several sessions that share a lock
-- are not named, and the role may not see what another one does.
select
    queue.name,
    held.pid,
    activity.application_name,
    activity.state
from {schema}.queue
left join {schema}.queue as first on queue.limited_with[1] = first.name
left join pg_catalog.pg_locks as held
    on coalesce(first.xmax, queue.xmax) = held.transactionid
    and held.locktype = 'transactionid'
    and held.granted
left join pg_catalog.pg_stat_activity as activity on held.pid = activity.pid
where queue.name = any(%(names)s::text[])
order by queue.name
