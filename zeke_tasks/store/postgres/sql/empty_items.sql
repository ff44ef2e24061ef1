-- The items whose text made one of the stories, by the hash of the text, or by the story if none has that.
with told as (
    select content.raw_item_id
    from zeke.stories as story
    inner join zeke.contents as content on story.content_hash = content.content_hash
    where story.id = any(%(ids)s::uuid[])
    union
    select content.raw_item_id
    from zeke.stories as story
    inner join zeke.contents as content on story.content_id = content.raw_item_id
    where
        story.id = any(%(ids)s::uuid[])
        and not exists (select from zeke.stories as other where other.content_hash = content.content_hash)
),

emptied as (
    select item.id
    from zeke.raw_items as item
    where item.id in (select told.raw_item_id from told)
    -- Locked in one order for all, so that two of these never wait for each other.
    order by item.id
    for update of item
)

update zeke.raw_items as item
set
    status = 'deleted',
    title = null,
    body = null,
    metadata = '{}',
    error = null,
    updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
from emptied
where item.id = emptied.id
returning item.id
