select team_id from zeke.deleted_teams
where team_id = any(%(ids)s::uuid[])
order by team_id
