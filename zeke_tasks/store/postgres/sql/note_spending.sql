insert into zeke.ai_spending (
    job_id, attempt, purpose, task, model, input_tokens, output_tokens, cost_usd, team_id, created_at
)
values (
    %(job_id)s,
    %(attempt)s,
    %(purpose)s,
    %(task)s,
    %(model)s,
    %(input_tokens)s,
    %(output_tokens)s,
    %(cost_usd)s,
    %(team_id)s,
    coalesce(%(now)s::timestamptz, statement_timestamp())
)
on conflict do nothing
