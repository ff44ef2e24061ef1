-- Lists jobs that an import has stored and not yet released, and their ids in pg-boss.
select
    id,
    name,
    (meta #>> '{zekeImport,id}')::uuid as source_id
from {schema}.job
where waitsfor is not null and waitsfor = id and meta #>> '{zekeImport,from}' = %(origin)s::text
