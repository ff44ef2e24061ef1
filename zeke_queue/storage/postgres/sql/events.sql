select
    job_id,
    attempt,
    kind,
    data,
    seq,
    at
from {schema}.job_event
where job_id = %(id)s::uuid and seq > %(after)s::bigint
order by seq
limit 1000
