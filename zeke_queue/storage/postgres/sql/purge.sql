-- Deletes jobs that were archived long enough ago, with their events, oldest first, but for some, or of those
-- only these; returns how many.
--
-- A job that its parent has waited for is kept as long as that one is live, whose next attempt asks for the
-- outcome again. It counts as archived now, so that it is not read again by each purge.
with old as materialized (
    select
        oldest.place,
        oldest.parent
    from (
        select
            ctid as place,
            case when awaited then parent end as parent
        from {schema}.archive
        where
            %(ids)s::uuid[] is null
            and id <> all(%(without)s::uuid[])
            and archivedon
            < coalesce(%(now)s::timestamptz, statement_timestamp())
            - %(after)s::bigint * interval '1 microsecond'
        order by archivedon, id
        limit {limit}
        for update skip locked
    ) as oldest
    union all
    select
        these.place,
        these.parent
    from (
        select
            ctid as place,
            case when awaited then parent end as parent
        from {schema}.archive
        where
            id = any(%(ids)s::uuid[])
            -- As a sum this is no condition on the index of times, all of which would be read.
            and archivedon + %(after)s::bigint * interval '1 microsecond'
            < coalesce(%(now)s::timestamptz, statement_timestamp())
        for update skip locked
    ) as these
),

judged as materialized (
    select
        old.place,
        -- One index search each.
        (select true from {schema}.job where job.id = old.parent limit 1) is not null as kept -- noqa: AM09
    from old
),

kept as (
    update {schema}.archive
    set archivedon = coalesce(%(now)s::timestamptz, statement_timestamp())
    where ctid = any(array(select place from judged where judged.kept))
),

gone as (
    delete from {schema}.archive
    where ctid = any(array(select place from judged where not judged.kept))
    returning id
),

events as (
    delete from {schema}.job_event
    where job_id = any(array(select id from gone))
)

select count(*) from gone
