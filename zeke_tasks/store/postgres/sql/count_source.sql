-- What delete_source deletes and moves, without locks; move_stories has the same rule.
with told as (
    select
        own.source_id = %(id)s as is_own,
        exists(
            select from zeke.contents as content
            inner join zeke.raw_items as item on content.raw_item_id = item.id
            where
                item.source_id <> %(id)s
                and content.content_hash = story.content_hash
                and not exists (
                    select from zeke.stories as another
                    where another.content_id = content.raw_item_id
                )
        ) as is_shared
    from zeke.stories as story
    inner join zeke.raw_items as own on story.content_id = own.id
    where
        story.id in (
            select had.id
            from zeke.raw_items as item
            inner join zeke.stories as had on item.id = had.content_id
            where item.source_id = %(id)s
            union
            select linked.id from zeke.stories as linked
            where linked.primary_source_id = %(id)s
        )
)

select
    (select count(*) from zeke.raw_items where source_id = %(id)s) as items,
    (select count(*) from told where told.is_own and not told.is_shared) as stories,
    (select count(*) from told where not told.is_own or told.is_shared) as moved
from zeke.sources
where id = %(id)s
