-- Claims waiting jobs of a queue of pg-boss, in the order of their ids, so each batch reads only its own.
-- They become active without a policy or a heartbeat and expire in decades, so that no pg-boss runs, fails or
-- deletes them, and no index of a policy is in the way; a slot stays taken. The output has the row as it was.
-- Jobs of a flow and those past their retention are left.
with taken as (
    select
        job.name,
        job.id,
        to_jsonb(job) - 'data' as was
    from {schema}.job as job
    where
        job.name = %(name)s::text
        and job.id > %(after)s::uuid
        and job.state < 'active'
        and (job.state = 'active' or job.keep_until > statement_timestamp())
        and (job.state <> 'active' or job.output -> 'zekeImport' is null)
        and not coalesce((to_jsonb(job) ->> 'blocked')::bool, false)
        and not coalesce((to_jsonb(job) ->> 'blocking')::bool, false)
    order by job.id
    limit {limit}
    for update skip locked
)

update {schema}.job as job set
    state = 'active',
    started_on = statement_timestamp(),
    expire_seconds = 2147483647,
    policy = null,
    output = jsonb_build_object('zekeImport', jsonb_build_object('job', taken.was))
from taken
where job.name = taken.name and job.id = taken.id
returning
    taken.was - 'output' as was,
    job.data::text as payload,
    (taken.was -> 'output')::text as result
