select
    id,
    content_id,
    content_hash,
    kind,
    cluster_id,
    primary_source_id,
    title,
    summary,
    url,
    published_at,
    status,
    is_partial
from zeke.stories
order by published_at desc nulls last, id asc
limit %(limit)s
