select team_id from zeke.source_connections
where source_id = %(id)s
order by team_id
for update
