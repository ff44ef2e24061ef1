-- Returns for each job, by position, the other one that holds its key or slot: that of a new job or, without
-- a name, the one that the live job of this id would take again. The four cases are the unique indexes, with
-- their exact conditions; each is a separate subquery, so that it can only be one index search.
with asked as materialized (
    select *
    from unnest(
        %(ids)s::uuid[], %(names)s::text[], %(singleton_keys)s::text[], %(slot_seconds)s::int[],
        %(slot_offsets)s::int[]
    ) with ordinality as job (id, name, key, slot_seconds, slot_offset, position)
),

wanted as materialized (
    select
        position, id, name, key,
        to_timestamp(floor(
            (extract(epoch from coalesce(%(now)s::timestamptz, statement_timestamp())) + slot_offset)
            / slot_seconds
        ) * slot_seconds) at time zone 'UTC' as slot
    from asked
    where
        name is not null
        -- One index search each, also in a transaction with other planner settings.
        and (select true from {schema}.job as same where same.id = asked.id limit 1) is null
        and (select true from {schema}.archive as same where same.id = asked.id limit 1) is null
    union all
    select asked.position, job.id, job.name, job.singletonkey, job.singletonon
    from asked
    inner join {schema}.job on job.id = any(array[asked.id])
    where asked.name is null
)

select wanted.position, held.id
from wanted
cross join lateral (
    (
        select job.id from {schema}.job
        where
            wanted.key is null and job.name = wanted.name and job.singletonon = wanted.slot
            and job.state < 'expired' and job.singletonkey is null and job.id <> wanted.id
        limit 1
    )
    union all
    (
        select job.id from {schema}.job
        where
            job.name = wanted.name and job.singletonon = wanted.slot and job.singletonkey = wanted.key
            and job.state < 'expired' and job.id <> wanted.id
        limit 1
    )
    union all
    (
        select job.id from {schema}.job
        where
            wanted.slot is null and job.name = wanted.name and job.singletonkey = wanted.key
            and job.state < 'completed' and job.singletonon is null
            and not job.singletonkey like '\_\_pgboss\_\_singleton\_queue%%' and job.id <> wanted.id
        limit 1
    )
    union all
    (
        select job.id from {schema}.job
        where
            wanted.slot is null and job.name = wanted.name and job.singletonkey = wanted.key
            and job.state < 'active' and job.singletonon is null
            and job.singletonkey like '\_\_pgboss\_\_singleton\_queue%%' and job.id <> wanted.id
        limit 1
    )
    limit 1
) as held
