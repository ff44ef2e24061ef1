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
where id = any(%(ids)s::uuid[])
-- Locked in one order for all, so that two of these never wait for each other.
order by id
for no key update
