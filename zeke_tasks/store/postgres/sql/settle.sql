with settled as (
    delete from zeke.ai_reservations
    where job_id = %(job_id)s and attempt = %(attempt)s and purpose = %(purpose)s and day = %(day)s
    returning team_id, day, dollars
)

update zeke.ai_budget_days as today
set used = today.used - settled.dollars + %(dollars)s
from settled
where today.team_id is not distinct from settled.team_id and today.day = settled.day
