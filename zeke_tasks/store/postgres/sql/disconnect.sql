delete from zeke.source_connections
where team_id = %(team_id)s and source_id = %(source_id)s
returning team_id
