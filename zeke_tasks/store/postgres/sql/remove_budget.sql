delete from zeke.ai_budgets where team_id is not distinct from %(team_id)s::uuid
returning team_id
