update zeke.playbook_runs
set
    outputs = outputs || jsonb_build_object(%(step)s::text, %(output)s::jsonb),
    updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
where id = %(id)s and not outputs ? %(step)s::text
