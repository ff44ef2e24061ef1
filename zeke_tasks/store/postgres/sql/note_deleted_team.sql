insert into zeke.deleted_teams (team_id, deleted_at)
values (%(id)s, coalesce(%(now)s::timestamptz, statement_timestamp()))
on conflict do nothing
