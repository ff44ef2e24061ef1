select
    team_id,
    dollars
from zeke.ai_budgets
order by team_id nulls first
