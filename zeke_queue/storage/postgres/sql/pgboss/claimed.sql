-- Locks jobs of pg-boss that an import has claimed; returns them as they were. One that started after its
-- claim is not claimed: a user of pg-boss cancelled and resumed it, which keeps the output, and it runs.
select
    (job.output #> '{zekeImport,job}') - 'output' as was,
    job.data::text as payload,
    (job.output #> '{zekeImport,job,output}')::text as result
from {schema}.job as job
where
    job.state = 'active'
    and job.output #> '{zekeImport,at}' = to_jsonb(extract(epoch from job.started_on))
limit {limit} -- noqa: AM09
for update of job skip locked
