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
where source_id = %(source_id)s
order by id
