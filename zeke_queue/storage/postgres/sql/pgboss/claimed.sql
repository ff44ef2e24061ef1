-- Locks jobs of pg-boss that an import has claimed; returns them as they were.
select
    (job.output #> '{zekeImport,job}') - 'output' as was,
    job.data::text as payload,
    (job.output #> '{zekeImport,job,output}')::text as result
from {schema}.job as job
where job.state = 'active' and job.output -> 'zekeImport' is not null
limit {limit} -- noqa: AM09
for update of job skip locked
