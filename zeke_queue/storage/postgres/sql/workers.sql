select
    id,
    host,
    pid,
    queues,
    extract(epoch from lease)::float8,
    started_on,
    beat_on,
    asleep,
    duties
from {schema}.worker
order by started_on, id
