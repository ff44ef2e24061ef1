select story.id
from zeke.stories as story
where
    story.created_at
    < coalesce(%(now)s::timestamptz, statement_timestamp()) - make_interval(secs => %(after)s)
    and not exists (
        select from zeke.highlights as highlight
        inner join zeke.team_highlight_states as state on highlight.id = state.highlight_id
        where highlight.story_id = story.id and state.pinned
    )
order by story.created_at, story.id
limit %(limit)s
for update of story skip locked
