with gone as (
    delete from zeke.ai_budgets
    where team_id = %(id)s
    returning team_id
)

select count(*) from gone
