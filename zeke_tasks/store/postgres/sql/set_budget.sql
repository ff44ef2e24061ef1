insert into zeke.ai_budgets as own (team_id, dollars, changed_at)
values (%(team_id)s, %(dollars)s, coalesce(%(now)s::timestamptz, statement_timestamp()))
on conflict (team_id) do update
set
    dollars = excluded.dollars,
    changed_at = excluded.changed_at
where own.dollars is distinct from excluded.dollars
