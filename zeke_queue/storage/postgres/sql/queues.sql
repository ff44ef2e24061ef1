select
    name,
    concurrency_limit,
    paused_on
from {schema}.queue
order by name collate "C"
