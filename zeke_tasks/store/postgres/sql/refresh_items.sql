with changed as (
    select
        known.id,
        item.url,
        item.title,
        item.published_at,
        item.body,
        item.metadata
    from unnest(
        %(ids)s::uuid[],
        %(urls)s::text[],
        %(titles)s::text[],
        %(published)s::timestamptz[],
        %(bodies)s::text[],
        %(metadatas)s::text[]
    ) as item (id, url, title, published_at, body, metadata)
    inner join zeke.raw_items as known on item.id = known.id
    where
        known.status <> 'deleted'
        and (known.url, known.title, known.published_at, known.body, known.metadata)
        is distinct from (item.url, item.title, item.published_at, item.body, item.metadata::jsonb)
    -- Locked in one order for all, so that two of these never wait for each other.
    order by known.id
    for update of known
)

update zeke.raw_items as known
set
    url = changed.url,
    title = changed.title,
    published_at = changed.published_at,
    body = changed.body,
    metadata = changed.metadata::jsonb,
    updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
from changed
where known.id = changed.id
