-- A text that another source has too becomes the story of that source. A story that was only linked to
-- the source becomes that of the source it was read from.
with told as (
    select
        story.id,
        own.source_id as own_source_id,
        other.raw_item_id,
        other.source_id
    from zeke.stories as story
    inner join zeke.raw_items as own on story.content_id = own.id
    left join lateral (
        select
            content.raw_item_id,
            item.source_id
        from zeke.contents as content
        inner join zeke.raw_items as item on content.raw_item_id = item.id
        where
            own.source_id = %(id)s
            and item.source_id <> %(id)s
            and content.content_hash = story.content_hash
            and not exists (
                select from zeke.stories as another
                where another.content_id = content.raw_item_id
            )
        order by content.raw_item_id
        limit 1
    ) as other on true
    where
        story.id = any(%(stories)s::uuid[])
        and (
            (own.source_id = %(id)s and other.raw_item_id is not null)
            or (own.source_id <> %(id)s and story.primary_source_id = %(id)s)
        )
)

update zeke.stories as story
set
    content_id = coalesce(told.raw_item_id, story.content_id),
    primary_source_id = case
        when story.primary_source_id = %(id)s then coalesce(told.source_id, told.own_source_id)
        else story.primary_source_id
    end,
    updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
from told
where story.id = told.id
returning story.id
