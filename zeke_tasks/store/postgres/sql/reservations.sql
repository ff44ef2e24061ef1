select
    job_id,
    attempt,
    purpose,
    task,
    model,
    team_id,
    day,
    dollars
from zeke.ai_reservations
order by job_id, attempt, purpose collate "C", day
