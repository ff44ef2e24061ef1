select story.id
from zeke.stories as story
inner join zeke.raw_items as item on story.content_id = item.id
where item.source_id = %(id)s or story.primary_source_id = %(id)s
order by story.id
for update of story
