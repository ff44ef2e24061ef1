-- The oldest transaction of this database: vacuum can't remove a row that died after it began. The times of
-- other roles' sessions are null unless we may read all of them.
select
    held.what,
    held.seconds
from (
    select
        format(
            'session %%s of %%s (%%s)',
            pid, coalesce(nullif(application_name, ''), 'an unnamed program'), coalesce(state, backend_type)
        ) as what,
        extract(epoch from coalesce(%(now)s::timestamptz, clock_timestamp()) - xact_start)::float8 as seconds
    from pg_stat_activity
    where
        datname = current_database()
        and pid <> pg_backend_pid()
        and backend_type <> 'autovacuum worker'
        and coalesce(backend_xmin, backend_xid) is not null
    union all
    select
        format('prepared transaction %%L', gid) as what,
        extract(epoch from coalesce(%(now)s::timestamptz, clock_timestamp()) - prepared)::float8 as seconds
    from pg_prepared_xacts
    where database = current_database()
) as held
where held.seconds is not null
order by held.seconds desc
limit 1
