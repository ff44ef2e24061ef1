-- Sets the end of ended jobs that have none, or one that is over a day ahead, to the present time: of all but
-- some, or of only these; returns how many. Only other programs store such jobs, which move to the archive
-- like others when that time is long enough ago.
with undated as materialized (
    select nowhere.place
    from (
        select ctid as place
        from {schema}.job
        where
            %(ids)s::uuid[] is null
            and state > 'active'
            and id <> all(%(without)s::uuid[])
            and completedon is null
        limit {limit} -- noqa: AM09
        for update skip locked
    ) as nowhere
    union all
    select ahead.place
    from (
        select ctid as place
        from {schema}.job
        where
            %(ids)s::uuid[] is null
            and state > 'active'
            and id <> all(%(without)s::uuid[])
            and completedon > coalesce(%(now)s::timestamptz, statement_timestamp()) + interval '1 day'
        order by completedon
        limit {limit}
        for update skip locked
    ) as ahead
    union all
    select these.place
    from (
        select ctid as place
        from {schema}.job
        where
            id = any(%(ids)s::uuid[])
            and state::text in ('completed', 'expired', 'cancelled', 'failed')
            and coalesce(completedon, 'infinity')
            > coalesce(%(now)s::timestamptz, statement_timestamp()) + interval '1 day'
        for update skip locked
    ) as these
),

dated as (
    update {schema}.job
    set completedon = coalesce(%(now)s::timestamptz, statement_timestamp())
    where ctid = any(array(select place from undated))
    returning 1
)

select count(*) from dated
