select id from zeke.playbook_runs
where
    ended_at is null
    and started_at
    < coalesce(%(now)s::timestamptz, statement_timestamp()) - make_interval(secs => %(after)s)
    and (%(behind)s::uuid is null or id > %(behind)s::uuid)
order by id
limit %(limit)s
