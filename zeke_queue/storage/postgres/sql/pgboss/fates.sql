-- Reads what became of claimed jobs of pg-boss: an import has confirmed a job, still claims it, or pg-boss
-- has it back. A job whose row is gone is not listed.
select
    job.name,
    job.id,
    case
        when claim.held is not true or job.state not in ('active', 'completed') then 'back'
        when job.state = 'active' then 'claimed'
        else 'confirmed'
    end as fate
from unnest(%(names)s::text[], %(ids)s::uuid[]) as given (name, id)
inner join {schema}.job as job on given.name = job.name and given.id = job.id
cross join lateral (
    select job.output #> '{zekeImport,at}' = to_jsonb(extract(epoch from job.started_on)) as held
) as claim
