-- Stores limits in the order of names; a pause stays. Rows that are as declared are left out, since a
-- conflict would lock them even if it changed nothing. Wakes idle workers, since a limit may have been
-- raised: all that listen, since one may become idle between this statement and the commit.
with stored as (
    insert into {schema}.queue (name, concurrency_limit, limited_with)
    select
        given.name,
        given.concurrency_limit,
        given.limited_with
    from (
        select
            one.name,
            one.concurrency_limit,
            case
                when one.shared is not null
                    then array(select jsonb_array_elements_text(one.shared))
            end as limited_with
        from
            unnest(%(names)s::text[], %(limits)s::int[], %(shared)s::jsonb[])
                as one (name, concurrency_limit, shared)
    ) as given
    left join {schema}.queue as known on given.name = known.name
    where
        known.name is null
        or (known.concurrency_limit, known.limited_with)
        is distinct from (given.concurrency_limit, given.limited_with)
    order by given.name collate "C"
    on conflict (name) do update
    set concurrency_limit = excluded.concurrency_limit, limited_with = excluded.limited_with
    where
        (queue.concurrency_limit, queue.limited_with)
        is distinct from (excluded.concurrency_limit, excluded.limited_with)
    returning name
)

select count(pg_notify(%(work_channel)s, stored.name))
from stored
