-- Claims waiting jobs of a queue of pg-boss, in the order of their ids, so each batch reads only its own.
-- They become active without a policy or a heartbeat and expire in decades, so that no pg-boss runs, fails or
-- deletes them, and no index of a policy is in the way; a slot stays taken. The output has the row as it was,
-- and the claim's time, which is the job's start until pg-boss fetches it again.
-- Jobs of a flow and those past their retention are left. A batch ends behind the job that exceeds its bytes.
with locked as (
    select
        job.name,
        job.id,
        coalesce(pg_column_size(job.data), 0) + coalesce(pg_column_size(job.output), 0) as bytes
    from {schema}.job as job
    where
        job.name = %(name)s::text
        and job.id >= %(first)s::uuid
        and job.state < 'active'
        and (job.state = 'active' or job.keep_until > statement_timestamp())
        and (
            job.state <> 'active'
            or (job.output #> '{zekeImport,at}' = to_jsonb(extract(epoch from job.started_on))) is not true
        )
        and not (job.blocked or job.blocking)
    order by job.id
    limit {limit}
    for update skip locked
),

taken as (
    select
        summed.name,
        summed.id
    from (
        select
            locked.name,
            locked.id,
            sum(locked.bytes) over (order by locked.id) - locked.bytes as before
        from locked
    ) as summed
    where summed.before < %(bytes)s::bigint
)

update {schema}.job set
    state = 'active',
    started_on = statement_timestamp(),
    expire_seconds = 2147483647,
    policy = null,
    heartbeat_on = null,
    output = jsonb_build_object(
        'zekeImport',
        jsonb_build_object('at', extract(epoch from statement_timestamp()), 'job', to_jsonb(job) - 'data')
    )
from taken
where job.name = taken.name and job.id = taken.id
returning
    (job.output #> '{zekeImport,job}') - 'output' as was,
    job.data::text as payload,
    (job.output #> '{zekeImport,job,output}')::text as result
