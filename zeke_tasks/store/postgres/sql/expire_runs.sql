with expired as (
    select id from zeke.playbook_runs
    where
        ended_at
        < coalesce(%(now)s::timestamptz, statement_timestamp()) - make_interval(secs => %(after)s)
    order by ended_at, id
    limit %(limit)s
    for update skip locked
)

delete from zeke.playbook_runs as run
using expired
where run.id = expired.id
returning run.id
