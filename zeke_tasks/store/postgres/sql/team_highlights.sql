select
    team_id,
    highlight_id,
    pinned,
    dismissed
from zeke.team_highlight_states
where team_id = %(team_id)s
order by highlight_id
