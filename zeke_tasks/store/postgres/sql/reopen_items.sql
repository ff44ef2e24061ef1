-- The sources first, in one order for all, so that their deletion waits and is waited for.
with kept as materialized (
    select source.id
    from zeke.sources as source
    where source.id in (select source_id from zeke.raw_items where id = any(%(ids)s::uuid[]))
    order by source.id
    for key share
),

given_up as (
    select item.id
    from zeke.raw_items as item
    where
        item.id = any(%(ids)s::uuid[])
        and item.status in ('failed', 'no_text_extracted', 'deleted')
        and item.source_id in (select kept.id from kept)
    -- Locked in one order for all, so that two of these never wait for each other.
    order by item.id
    for update of item
)

update zeke.raw_items as item
set
    status = 'pending',
    attempts = 0,
    error = null,
    updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
from given_up
where item.id = given_up.id
returning item.id
