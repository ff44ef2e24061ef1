-- Returns the job that holds the place which this one would need to wait again. The four cases are the unique
-- indexes; holder.sql says more.
with wanted as materialized (
    select
        id,
        name,
        singletonkey as key,
        singletonon as slot
    from {schema}.job
    where id = %(id)s::uuid
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
        and job.id <> wanted.id
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
        and job.id <> wanted.id
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
        and job.id <> wanted.id
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
        and job.id <> wanted.id
    limit 1
) as held
where wanted.slot is null
limit 1
