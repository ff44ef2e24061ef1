-- Moves jobs that ended long enough ago to the archive, oldest first, but for some, or of those only these;
-- returns how many. These are looked up by their ids: the states are compared as texts, which keeps the
-- planner from the index of what has ended, all of which it would read.
with old as materialized (
    select oldest.place
    from (
        select ctid as place
        from {schema}.job
        where
            %(ids)s::uuid[] is null
            and state > 'active'
            and id <> all(%(without)s::uuid[])
            and completedon
            < coalesce(%(now)s::timestamptz, statement_timestamp())
            - %(after)s::bigint * interval '1 microsecond'
        order by completedon, id
        limit {limit}
        for update skip locked
    ) as oldest
    union all
    select these.place
    from (
        select ctid as place
        from {schema}.job
        where
            id = any(%(ids)s::uuid[])
            and state::text in ('completed', 'expired', 'cancelled', 'failed')
            and completedon
            < coalesce(%(now)s::timestamptz, statement_timestamp())
            - %(after)s::bigint * interval '1 microsecond'
        for update skip locked
    ) as these
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
        attempt, worker, policy, groupkey, parent, meta, retrydelaymax, waitsfor, awaited, history, archivedon
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
        waitsfor,
        awaited,
        history,
        coalesce(%(now)s::timestamptz, statement_timestamp())
    from gone
    returning 1
)

select count(*) from archived
