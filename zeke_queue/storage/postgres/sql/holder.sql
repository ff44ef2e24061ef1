-- Returns the job that makes a uniqueness rule refuse this one now. The four cases are the unique indexes.
with wanted as (
    select
        %(name)s::text as name,
        %(singleton_key)s::text as singleton_key,
        to_timestamp(floor(
            (
                extract(epoch from coalesce(%(now)s::timestamptz, statement_timestamp()))
                + %(slot_offset)s::int
            ) / %(slot_seconds)s::int
        ) * %(slot_seconds)s::int) at time zone 'UTC' as slot
)

select job.id
from wanted
inner join {schema}.job on wanted.name = job.name
where
    case
        when wanted.slot is not null
            then
                job.state < 'expired'
                and job.singletonon = wanted.slot
                and job.singletonkey is not distinct from wanted.singleton_key
        when wanted.singleton_key like '\_\_pgboss\_\_singleton\_queue%%'
            then job.state < 'active' and job.singletonon is null and job.singletonkey = wanted.singleton_key
        else job.state < 'completed' and job.singletonon is null and job.singletonkey = wanted.singleton_key
    end
    and not exists (select from {schema}.job as same where same.id = %(id)s::uuid)
    and not exists (select from {schema}.archive as same where same.id = %(id)s::uuid)
order by job.id
limit 1
