-- Locks jobs in the order of their ids.
select id
from {schema}.job
where id = any(%(ids)s::uuid[])
order by id
for update
