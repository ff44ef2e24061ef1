-- Lists the queues of pg-boss, with the columns of its version.
select to_jsonb(queue) as queue
from {schema}.queue as queue
order by name collate "C"
