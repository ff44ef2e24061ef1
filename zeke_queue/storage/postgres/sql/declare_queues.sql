-- Stores limits in the order of names; a pause stays. Rows that are as declared are left out, since a
-- conflict would lock them even if it changed nothing. Wakes idle workers, since a limit may have been
-- raised: all that listen, since one may become idle between this statement and the commit.
with stored as (
    insert into {schema}.queue (name, concurrency_limit)
    select
        given.name,
        given.concurrency_limit
    from unnest(%(names)s::text[], %(limits)s::int[]) as given (name, concurrency_limit)
    left join {schema}.queue as known on given.name = known.name
    where known.name is null or known.concurrency_limit is distinct from given.concurrency_limit
    order by given.name collate "C"
    on conflict (name) do update set concurrency_limit = excluded.concurrency_limit
    where queue.concurrency_limit is distinct from excluded.concurrency_limit
    returning name
)

select count(pg_notify(%(work_channel)s, stored.name))
from stored
