-- Locks queues in the order of their names; the next statement then counts what runs in them.
select name
from {schema}.queue
where name = any(%(names)s::text[])
order by name collate "C"
for no key update
