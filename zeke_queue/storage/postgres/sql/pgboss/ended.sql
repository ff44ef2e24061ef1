-- Lists ended jobs of a queue of pg-boss in the order of their ids: all, or those completed ones whose slot
-- of the last week may still exclude others.
select
    to_jsonb(job) - 'data' - 'output' as was,
    job.data::text as payload,
    job.output::text as result
from {schema}.job as job
where
    job.name = %(name)s::text
    and job.id > %(after)s::uuid
    and job.state > 'active'
    and job.output -> 'zekeImport' is null
    and (
        %(history)s::bool
        or (
            job.state = 'completed'
            and job.singleton_on > (statement_timestamp() at time zone 'UTC') - interval '7 days'
        )
    )
order by job.id
limit {limit}
