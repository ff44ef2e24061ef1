-- Returns the job that makes a uniqueness rule refuse this one now. The four cases are the unique indexes,
-- with their conditions word for word; each is a subquery of its own, so that it can only be a look into one.
with wanted as materialized (
    select
        %(name)s::text as name,
        %(singleton_key)s::text as key,
        to_timestamp(floor(
            (
                extract(epoch from coalesce(%(now)s::timestamptz, statement_timestamp()))
                + %(slot_offset)s::int
            ) / %(slot_seconds)s::int
        ) * %(slot_seconds)s::int) at time zone 'UTC' as slot
    where
        not exists (select from {schema}.job as same where same.id = %(id)s::uuid)
        and not exists (select from {schema}.archive as same where same.id = %(id)s::uuid)
)

select held.id
from wanted
cross join lateral (
    select job.id
    from {schema}.job
    where
        job.name = wanted.name
        and job.singletonon = wanted.slot
        and job.state < 'expired'
        and job.singletonkey is null
    limit 1
) as held
where wanted.key is null
union all
select held.id
from wanted
cross join lateral (
    select job.id
    from {schema}.job
    where
        job.name = wanted.name
        and job.singletonon = wanted.slot
        and job.singletonkey = wanted.key
        and job.state < 'expired'
    limit 1
) as held
union all
select held.id
from wanted
cross join lateral (
    select job.id
    from {schema}.job
    where
        job.name = wanted.name
        and job.singletonkey = wanted.key
        and job.state < 'completed'
        and job.singletonon is null
        and not job.singletonkey like '\_\_pgboss\_\_singleton\_queue%%'
    limit 1
) as held
where wanted.slot is null
union all
select held.id
from wanted
cross join lateral (
    select job.id
    from {schema}.job
    where
        job.name = wanted.name
        and job.singletonkey = wanted.key
        and job.state < 'active'
        and job.singletonon is null
        and job.singletonkey like '\_\_pgboss\_\_singleton\_queue%%'
    limit 1
) as held
where wanted.slot is null
limit 1
