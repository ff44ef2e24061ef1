-- Deletes jobs that were archived long enough ago, with their events, oldest first, or of those only these;
-- returns how many.
with old as materialized (
    select ctid as place
    from {schema}.archive
    where
        archivedon
        < coalesce(%(now)s::timestamptz, statement_timestamp()) - %(after)s::bigint * interval '1 microsecond'
        and (%(ids)s::uuid[] is null or id = any(%(ids)s::uuid[]))
    order by archivedon, id
    limit {limit}
    for update skip locked
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
