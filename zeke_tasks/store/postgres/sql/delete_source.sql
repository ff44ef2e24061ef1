with gone as (
    delete from zeke.sources
    where id = %(id)s
    returning id
)

-- These see the rows as they were before the deletion, which cascades to them.
select
    (select count(*) from zeke.raw_items where source_id = %(id)s) as items,
    (
        select count(*)
        from zeke.stories as story
        inner join zeke.raw_items as item on story.content_id = item.id
        where item.source_id = %(id)s
    ) as stories
from gone
