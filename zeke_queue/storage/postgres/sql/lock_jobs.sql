-- Locks jobs in the order of their ids, and returns for which others they wait.
select
    id,
    waitsfor
from {schema}.job
where id = any(%(ids)s::uuid[])
order by id
for update
