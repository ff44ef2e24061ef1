with story as (
    delete from zeke.stories
    where id = any(%(ids)s::uuid[]) or content_id = any(%(items)s::uuid[])
    returning id
),

content as (
    delete from zeke.contents
    where raw_item_id = any(%(items)s::uuid[])
)

select id from story
