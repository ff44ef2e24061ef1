-- Returns these queues, each with the session that has locked it as far as that can be told: a prepared
-- transaction has none, several sessions that share a lock are not named, and the role may not see what
-- another one does.
select
    queue.name,
    held.pid,
    activity.application_name,
    activity.state
from {schema}.queue
left join pg_catalog.pg_locks as held
    on queue.xmax = held.transactionid and held.locktype = 'transactionid' and held.granted
left join pg_catalog.pg_stat_activity as activity on held.pid = activity.pid
where queue.name = any(%(names)s::text[])
order by queue.name
