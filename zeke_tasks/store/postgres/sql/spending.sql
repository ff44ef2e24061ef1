select
    job_id,
    attempt,
    purpose,
    task,
    model,
    input_tokens,
    output_tokens,
    cost_usd,
    team_id
from zeke.ai_spending
where %(job_id)s::uuid is null or job_id = %(job_id)s
order by job_id, attempt, purpose collate "C"
