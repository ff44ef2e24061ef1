-- Moves the ended jobs of a queue to the archive, with the columns that pg-boss 9 names; it does so in all
-- queues.
with gone as (
    delete from {schema}.job
    where name = %(name)s and (
        completedon < now() + interval '1 second'
        or (state < 'active' and keepuntil < now())
    )
    returning *
)

insert into {schema}.archive (
    id, name, priority, data, state, retrylimit, retrycount, retrydelay, retrybackoff, startafter, startedon,
    singletonkey, singletonon, expirein, createdon, completedon, keepuntil, on_complete, output
)
select
    id,
    name,
    priority,
    data,
    state,
    retrylimit,
    retrycount,
    retrydelay,
    retrybackoff,
    startafter,
    startedon,
    singletonkey,
    singletonon,
    expirein,
    createdon,
    completedon,
    keepuntil,
    on_complete,
    output
from gone
returning id
