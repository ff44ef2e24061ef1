-- Finds the job that is active at this attempt, and keeps it from being cancelled until its child is there.
select id
from {schema}.job
where id = %(id)s::uuid and attempt = %(attempt)s::int and state = 'active'
for no key update
