-- Completes claimed jobs in pg-boss, once they are stored here. As completed ones they keep their slots, and
-- pg-boss deletes them when their retention ends.
update {schema}.job as job set
    state = 'completed',
    completed_on = statement_timestamp()
from unnest(%(names)s::text[], %(ids)s::uuid[]) as given (name, id)
where
    job.name = given.name
    and job.id = given.id
    and job.state = 'active'
    and job.output #> '{zekeImport,at}' = to_jsonb(extract(epoch from job.started_on))
