-- Fetches the jobs of a queue in pg-boss's order.
with due as (
    select id
    from {schema}.job
    where state < 'active' and name like %(name)s and startafter < now()
    order by priority desc, createdon asc, id asc
    limit 100
    for update skip locked
)

update {schema}.job as fetched set
    state = 'active',
    startedon = now(),
    retrycount = case when fetched.state = 'retry' then fetched.retrycount + 1 else fetched.retrycount end
from due
where fetched.id = due.id
returning fetched.id, fetched.name, fetched.data, extract(epoch from fetched.expirein)
