select story_id from zeke.highlights
where team_id = %(id)s
union
select story_id from zeke.team_story_states
where team_id = %(id)s
