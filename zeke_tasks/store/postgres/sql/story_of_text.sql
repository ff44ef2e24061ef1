select id
from zeke.stories
where content_hash = %(content_hash)s or content_id = %(content_id)s
order by content_hash = %(content_hash)s desc
limit 1
for key share
