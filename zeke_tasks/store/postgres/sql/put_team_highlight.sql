insert into zeke.team_highlight_states (team_id, highlight_id, pinned, dismissed, created_at)
select
    %(team_id)s::uuid,
    highlight.id,
    %(pinned)s,
    %(dismissed)s,
    coalesce(%(now)s::timestamptz, statement_timestamp())
from zeke.highlights as highlight
where highlight.id = %(highlight_id)s
for key share
on conflict do nothing
returning team_id
