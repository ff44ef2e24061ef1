select
    id, name, state::text, data, priority, attempt, retrycount, retrylimit, retrydelay, retrybackoff,
    retrydelaymax, startafter, startedon, singletonkey, singletonon, extract(epoch from expirein)::float8,
    createdon, completedon, keepuntil, output, worker, policy, groupkey, parent, meta, waitsfor, awaited,
    history,
    null::timestamptz as archivedon
from {schema}.job
where id = any(%(ids)s::uuid[])
union all
select
    id, name, state::text, data, priority, attempt, retrycount, retrylimit, retrydelay, retrybackoff,
    retrydelaymax, startafter, startedon, singletonkey, singletonon, extract(epoch from expirein)::float8,
    createdon, completedon, keepuntil, output, worker, policy, groupkey, parent, meta, waitsfor, awaited,
    history, archivedon
from {schema}.archive
where id = any(%(ids)s::uuid[])
