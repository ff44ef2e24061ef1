select count(*) from zeke.source_connections
where team_id = %(team_id)s
