-- What delete_story deletes, without locks; empty_items has the same rule.
with told as (
    select content.raw_item_id
    from zeke.stories as story
    inner join zeke.contents as content on story.content_hash = content.content_hash
    where story.id = %(id)s
    union
    select content.raw_item_id
    from zeke.stories as story
    inner join zeke.contents as content on story.content_id = content.raw_item_id
    where
        story.id = %(id)s
        and not exists (select from zeke.stories as other where other.content_hash = content.content_hash)
)

select
    (select count(*) from told) as items,
    (
        select count(*) from zeke.stories as also
        where also.id <> %(id)s and also.content_id in (select told.raw_item_id from told)
    ) + 1 as stories
from zeke.stories
where id = %(id)s
