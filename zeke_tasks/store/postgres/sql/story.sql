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
    status
from zeke.stories
where id = %(id)s
