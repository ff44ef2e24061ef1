-- Reads the jobs of a recording: those that existed in a time window and had not ended before it. What is not
-- recorded is not read, and of errors only the type is. The size of a payload is that of its storage, which
-- is known without reading it. Of the archive, an index finds the rows that were archived since.
with stored as (
    select
        id, name, state, data, priority, attempt, retrycount, retrylimit, retrydelay, retrybackoff,
        retrydelaymax, startafter, startedon, singletonkey, singletonon, expirein, createdon, completedon,
        keepuntil, output, worker, policy, groupkey, parent, meta, waitsfor, awaited, history,
        null::timestamptz as archivedon
    from {schema}.job
    where
        createdon < %(until)s::timestamptz
        and (completedon is null or completedon >= %(since)s::timestamptz)
    union all
    select
        id, name, state, data, priority, attempt, retrycount, retrylimit, retrydelay, retrybackoff,
        retrydelaymax, startafter, startedon, singletonkey, singletonon, expirein, createdon, completedon,
        keepuntil, output, worker, policy, groupkey, parent, meta, waitsfor, awaited, history, archivedon
    from {schema}.archive
    where
        archivedon >= %(since)s::timestamptz
        and createdon < %(until)s::timestamptz
        and (completedon is null or completedon >= %(since)s::timestamptz)
)

select
    id, name, state::text,
    case when %(payloads)s::bool then data end,
    priority, attempt, retrycount, retrylimit, retrydelay, retrybackoff, retrydelaymax, startafter, startedon,
    singletonkey, singletonon, extract(epoch from expirein)::float8, createdon, completedon, keepuntil,
    case when %(payloads)s::bool and state = 'completed' then output end,
    worker, policy, groupkey, parent,
    case when %(payloads)s::bool then meta end,
    waitsfor, awaited,
    (
        select
            jsonb_agg(jsonb_build_object(
                'attempt', failed.entry -> 'attempt',
                'at', failed.entry -> 'at',
                'state', failed.entry -> 'state',
                'worker', failed.entry -> 'worker',
                'error', jsonb_build_object('type', failed.entry -> 'error' -> 'type')
            ))
        from jsonb_array_elements(
            case when jsonb_typeof(history) = 'array' then history else '[]' end
        ) as failed (entry)
    ),
    archivedon,
    case when state in ('failed', 'expired', 'retry') then output ->> 'type' end,
    state = 'failed' and coalesce(output ? 'superseded_by', false),
    coalesce(output ? 'while_storing', false),
    coalesce(pg_column_size(data), 0)
from stored
