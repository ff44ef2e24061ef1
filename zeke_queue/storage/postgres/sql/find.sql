-- Lists jobs, newest first. Planned anew each time, with the values at hand: what is not asked for falls
-- away. No index has this order (migration 0008 says why), so many rows may have to be compared: by what
-- decides alone, and the rest is read of the few that are left. In C, lower() is of ASCII letters alone.
with page as materialized (
    select ctid as place
    from {schema}.job
    where
        (%(names)s::text[] is null or name collate "C" = any(%(names)s::text[]))
        and (%(states)s::{schema}.job_state[] is null or state = any(%(states)s::{schema}.job_state[]))
        and (%(parent)s::uuid is null or parent = %(parent)s::uuid)
        and (%(created_from)s::timestamptz is null or createdon >= %(created_from)s::timestamptz)
        and (%(created_to)s::timestamptz is null or createdon < %(created_to)s::timestamptz)
        and (
            %(text)s::text is null
            or strpos(id::text, lower(%(text)s::text collate "C")) > 0
            or strpos(lower(singletonkey collate "C"), lower(%(text)s::text collate "C")) > 0
            or (
                (%(opaque)s::text[] is null or name collate "C" <> all(%(opaque)s::text[]))
                and (
                    strpos(lower(data::text collate "C"), lower(%(text)s::text collate "C")) > 0
                    or strpos(lower(output::text collate "C"), lower(%(text)s::text collate "C")) > 0
                )
            )
        )
        and (
            %(before)s::uuid is null
            or (createdon, id) < (
                select
                    createdon,
                    id
                from {schema}.job
                where id = %(before)s::uuid
                union all
                select
                    createdon,
                    id
                from {schema}.archive
                where id = %(before)s::uuid
                limit 1
            )
        )
    order by createdon desc, id desc
    limit %(limit)s::int
)

select
    id, name, state::text, data, priority, attempt, retrycount, retrylimit, retrydelay, retrybackoff,
    retrydelaymax, startafter, startedon, singletonkey, singletonon, extract(epoch from expirein)::float8,
    createdon, completedon, keepuntil, output, worker, policy, groupkey, parent, meta, waitsfor, awaited,
    history,
    null::timestamptz as archivedon
from {schema}.job
where ctid = any(array(select page.place from page))
order by createdon desc, id desc
