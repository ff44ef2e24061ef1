with forgotten as (
    select id from zeke.playbook_runs
    where id = any(%(ids)s::uuid[]) and ended_at is null
    order by id
    for update skip locked
)

delete from zeke.playbook_runs as run
using forgotten
where run.id = forgotten.id
returning run.id
