select to_jsonb(playbook) || jsonb_build_object('steps', steps.steps)
from zeke.playbooks as playbook
cross join lateral (
    select
        coalesce(
            jsonb_agg(
                jsonb_build_object('name', step.name, 'task', step.task, 'input', step.input)
                order by step.position
            ),
            '[]'
        ) as steps
    from zeke.playbook_steps as step
    where step.playbook_id = playbook.id
) as steps
where playbook.team_id = %(team_id)s
order by playbook.id
