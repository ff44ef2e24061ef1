-- Lists those of the given jobs of pg-boss that are not confirmed, and whether an import has them claimed or
-- pg-boss has them back. A job that does not exist was confirmed, and deleted when its retention ended.
select
    job.name,
    job.id,
    claim.held is not true or job.state not in ('active', 'completed') as taken_back
from unnest(%(names)s::text[], %(ids)s::uuid[]) as given (name, id)
inner join {schema}.job as job on given.name = job.name and given.id = job.id
cross join lateral (
    select job.output #> '{zekeImport,at}' = to_jsonb(extract(epoch from job.started_on)) as held
) as claim
where claim.held is not true or job.state <> 'completed'
