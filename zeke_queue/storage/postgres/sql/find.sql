-- Lists jobs, newest first; as find_archived those of the archive. Planned for each call with its values, so
-- that absent filters are removed. No index has this order (migration 0008 gives the reason), so many rows
-- may have to be compared: only by the deciding columns, and the others are read for the few remaining rows.
-- Rows after a limit on the bytes of JSON are not returned; each row carries the number of rows before
-- that limit.
-- Writing JSON costs far more than finding its row, so it is done row by row, up to the limit. In collation
-- C, lower() affects only ASCII letters.
with recursive page as materialized (
    select
        ctid as place,
        createdon,
        id
    from {schema}.job
    where
        (%(ids)s::uuid[] is null or id = any(%(ids)s::uuid[]))
        and (%(names)s::text[] is null or name collate "C" = any(%(names)s::text[]))
        and (%(states)s::{schema}.job_state[] is null or state = any(%(states)s::{schema}.job_state[]))
        and (%(parent)s::uuid is null or parent = %(parent)s::uuid)
        and (%(parents)s::uuid[] is null or parent = any(%(parents)s::uuid[]))
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
                    or strpos(lower(meta::text collate "C"), lower(%(text)s::text collate "C")) > 0
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
),

newest as materialized (
    select array_agg(page.place order by page.createdon desc, page.id desc) as places
    from page
),

sized as (
    select
        0 as number,
        0::bigint as bytes
    union all
    select
        sized.number + 1,
        (
            select
                sized.bytes
                + coalesce(octet_length(case when 'data' <> all(%(without)s::text[]) then data::text end), 0)
                + coalesce(
                    octet_length(case when 'output' <> all(%(without)s::text[]) then output::text end), 0
                )
                + coalesce(octet_length(case when 'meta' <> all(%(without)s::text[]) then meta::text end), 0)
            from {schema}.job as kept
            where kept.ctid = newest.places[sized.number + 1]
        )
    from sized
    cross join newest
    where sized.number < cardinality(newest.places) and sized.bytes <= %(bytes_max)s::bigint
),

sent as materialized (
    select
        cardinality(newest.places) as listed,
        newest.places[:(
            case
                when %(bytes_max)s::bigint is null then cardinality(newest.places)
                else greatest(1, (select max(number) from sized where bytes <= %(bytes_max)s::bigint))
            end
        )] as places
    from newest
)

select
    id, name, state::text,
    case when 'data' <> all(%(without)s::text[]) then data end,
    priority, attempt, retrycount, retrylimit, retrydelay, retrybackoff,
    retrydelaymax, startafter, startedon, singletonkey, singletonon, extract(epoch from expirein)::float8,
    createdon, completedon, keepuntil,
    case when 'output' <> all(%(without)s::text[]) then output end,
    worker, policy, groupkey, parent,
    case when 'meta' <> all(%(without)s::text[]) then meta end,
    waitsfor, awaited,
    case when 'history' <> all(%(without)s::text[]) then history end,
    null::timestamptz as archivedon,
    (select sent.listed from sent) as listed
from {schema}.job as kept
where kept.ctid = any((select sent.places from sent)::tid[])
order by createdon desc, id desc
