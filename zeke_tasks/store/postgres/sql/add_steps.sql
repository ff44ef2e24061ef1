insert into zeke.playbook_steps (playbook_id, position, name, task, input)
select
    %(id)s::uuid,
    step.position,
    step.name,
    step.task,
    step.input
from unnest(%(names)s::text[], %(tasks)s::text[], %(inputs)s::jsonb[])
    with ordinality as step (name, task, input, position)
