-- Lists jobs of pg-boss that an interrupted import has claimed, as they were.
select
    (job.output #> '{zekeImport,job}') - 'output' as was,
    job.data::text as payload,
    (job.output #> '{zekeImport,job,output}')::text as result
from {schema}.job as job
where job.state = 'active' and job.output -> 'zekeImport' is not null
limit {limit} -- noqa: AM09
