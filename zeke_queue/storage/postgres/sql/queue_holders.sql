-- Returns the sessions that have locked these queues. A prepared transaction has no session, and the role may
-- not be allowed to see the activity of other roles, so columns may be null.
select
    queue.name,
    held.pid,
    activity.application_name,
    activity.state
from {schema}.queue
inner join pg_catalog.pg_locks as held
    on queue.xmax = held.transactionid and held.locktype = 'transactionid' and held.granted
left join pg_catalog.pg_stat_activity as activity on held.pid = activity.pid
where queue.name = any(%(names)s::text[])
order by queue.name
