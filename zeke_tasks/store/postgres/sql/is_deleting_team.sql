-- Whether the lock of lock_team.sql is granted to a transaction; one that still waits for it does not count.
select count(*) > 0 as deleting
from pg_locks
where
    locktype = 'advisory'
    and database = (select oid from pg_database where datname = current_database())
    and (classid::bigint << 32) | objid::bigint = hashtextextended('zeke.team/' || %(id)s::uuid, 0)
    and objsubid = 1
    and mode = 'ExclusiveLock'
    and granted
