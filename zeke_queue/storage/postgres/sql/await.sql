-- Marks a job as one whose end somebody waits for.
update {schema}.job
set awaited = true
where id = %(id)s::uuid and not awaited
