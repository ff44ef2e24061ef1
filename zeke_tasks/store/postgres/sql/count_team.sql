select
    (select count(*) from zeke.source_connections where team_id = %(id)s) as source_connections,
    (select count(*) from zeke.team_story_states where team_id = %(id)s) as team_story_states,
    (select count(*) from zeke.team_highlight_states where team_id = %(id)s) as team_highlight_states,
    (select count(*) from zeke.highlights where team_id = %(id)s) as highlights,
    (select count(*) from zeke.playbook_runs where team_id = %(id)s) as playbook_runs,
    (select count(*) from zeke.playbooks where team_id = %(id)s) as playbooks,
    (select count(*) from zeke.ai_budgets where team_id = %(id)s) as ai_budgets,
    (select count(*) from zeke.ai_reservations where team_id = %(id)s) as ai_reservations,
    (select count(*) from zeke.ai_budget_days where team_id = %(id)s) as ai_budget_days,
    (select count(*) from zeke.ai_spending where team_id = %(id)s) as ai_spending
