select
    name,
    concurrency_limit,
    paused_on,
    limited_with
from {schema}.queue
order by name collate "C"
