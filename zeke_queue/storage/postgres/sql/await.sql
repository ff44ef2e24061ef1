-- Marks a job as awaited by another one.
update {schema}.job
set awaited = true
where id = %(id)s::uuid and not awaited
