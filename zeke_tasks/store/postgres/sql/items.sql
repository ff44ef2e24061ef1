select
    id,
    source_id,
    external_id,
    kind,
    url,
    title,
    published_at,
    body,
    metadata,
    status,
    attempts,
    error
from zeke.raw_items
where id = any(%(ids)s::uuid[])
order by id
