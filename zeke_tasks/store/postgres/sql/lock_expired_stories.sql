select story.id
from zeke.stories as story
where
    story.created_at
    < coalesce(%(now)s::timestamptz, statement_timestamp()) - make_interval(secs => %(after)s)
order by story.created_at, story.id
limit %(limit)s
for update skip locked
