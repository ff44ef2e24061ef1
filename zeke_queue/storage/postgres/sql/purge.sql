-- Deletes jobs that were archived long enough ago, with their events, oldest first, or of those only these;
-- returns how many.
with old as materialized (
    select oldest.place
    from (
        select ctid as place
        from {schema}.archive
        where
            %(ids)s::uuid[] is null
            and archivedon
            < coalesce(%(now)s::timestamptz, statement_timestamp())
            - %(after)s::bigint * interval '1 microsecond'
        order by archivedon, id
        limit {limit}
        for update skip locked
    ) as oldest
    union all
    select these.place
    from (
        select ctid as place
        from {schema}.archive
        where
            id = any(%(ids)s::uuid[])
            -- As a sum this is no condition on the index of times, all of which would be read.
            and archivedon + %(after)s::bigint * interval '1 microsecond'
            < coalesce(%(now)s::timestamptz, statement_timestamp())
        for update skip locked
    ) as these
),

gone as (
    delete from {schema}.archive
    where ctid = any(array(select place from old))
    returning id
),

events as (
    delete from {schema}.job_event
    where job_id = any(array(select id from gone))
)

select count(*) from gone
