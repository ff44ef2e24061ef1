select
    content.raw_item_id,
    story.id,
    story.content_id,
    story.content_hash,
    story.kind,
    story.cluster_id,
    story.primary_source_id,
    story.title,
    story.summary,
    story.url,
    story.published_at,
    story.status,
    story.is_partial
from zeke.contents as content
cross join lateral (
    select *
    from zeke.stories
    where content_hash = content.content_hash or content_id = content.raw_item_id
    order by content_hash = content.content_hash desc
    limit 1
) as story
where content.raw_item_id = any(%(item_ids)s::uuid[])
