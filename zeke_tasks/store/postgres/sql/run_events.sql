select
    run_id,
    round,
    kind,
    step,
    data,
    at
from zeke.playbook_run_events
where run_id = %(run_id)s
order by seq
