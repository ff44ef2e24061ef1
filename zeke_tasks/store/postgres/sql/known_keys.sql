select key
from zeke.highlights
where
    story_id = %(story_id)s
    and key = any(%(keys)s::text[])
    and (team_id is null or team_id = %(team_id)s)
