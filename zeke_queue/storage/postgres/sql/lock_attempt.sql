-- Finds the job that is active at this attempt, and keeps it so until the transaction ends.
select id
from {schema}.job
where id = %(id)s::uuid and attempt = %(attempt)s::int and state between 'active' and 'active'
for no key update
