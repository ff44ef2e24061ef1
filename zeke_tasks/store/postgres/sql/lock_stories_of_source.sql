select id from zeke.stories
where
    id in (
        select story.id
        from zeke.raw_items as item
        inner join zeke.stories as story on item.id = story.content_id
        where item.source_id = %(id)s
        union
        select story.id from zeke.stories as story
        where story.primary_source_id = %(id)s
    )
order by id
for update
