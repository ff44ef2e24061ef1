-- Moves jobs that ended long enough ago to the archive, oldest first, or of those only these; returns how
-- many.
with old as materialized (
    select ctid as place
    from {schema}.job
    where
        state > 'active'
        and completedon
        < coalesce(%(now)s::timestamptz, statement_timestamp()) - %(after)s::bigint * interval '1 microsecond'
        and (%(ids)s::uuid[] is null or id = any(%(ids)s::uuid[]))
    order by completedon, id
    limit {limit}
    for update skip locked
),

gone as (
    delete from {schema}.job
    where ctid = any(array(select place from old))
    returning *
),

archived as (
    insert into {schema}.archive (
        id, name, priority, data, state, retrylimit, retrycount, retrydelay, retrybackoff, startafter,
        startedon,
        singletonkey,
        singletonon,
        expirein,
        createdon,
        completedon,
        keepuntil,
        on_complete,
        output,
        attempt, worker, policy, groupkey, parent, meta, retrydelaymax, history, archivedon
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
        output,
        attempt,
        worker,
        policy,
        groupkey,
        parent,
        meta,
        retrydelaymax,
        history,
        coalesce(%(now)s::timestamptz, statement_timestamp())
    from gone
    returning 1
)

select count(*) from archived
