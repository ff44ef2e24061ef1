select
    team_id,
    story_id,
    state,
    last_viewed_at
from zeke.team_story_states
where story_id = %(story_id)s
order by team_id
