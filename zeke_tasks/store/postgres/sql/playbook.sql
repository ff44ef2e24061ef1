select
    playbook.id,
    playbook.team_id,
    playbook.name,
    coalesce(
        (
            select
                jsonb_agg(
                    jsonb_build_object('name', step.name, 'task', step.task, 'input', step.input)
                    order by step.position
                )
            from zeke.playbook_steps as step
            where step.playbook_id = playbook.id
        ),
        '[]'
    ) as steps,
    playbook.status
from zeke.playbooks as playbook
where playbook.id = %(id)s
