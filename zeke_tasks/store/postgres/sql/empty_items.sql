-- The items whose text made one of the stories, by the hash of the text, or by the story if none has that.
with emptied as (
    select item.id
    from zeke.raw_items as item
    inner join zeke.contents as content on item.id = content.raw_item_id
    where
        content.content_hash in (select content_hash from zeke.stories where id = any(%(ids)s::uuid[]))
        or (
            content.raw_item_id in (select content_id from zeke.stories where id = any(%(ids)s::uuid[]))
            and not exists (select from zeke.stories where content_hash = content.content_hash)
        )
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
