select
    team_id,
    used
from zeke.ai_budget_days
where day = %(day)s
order by team_id nulls first
