select name
from {schema}.queue
where concurrency_limit is not null
