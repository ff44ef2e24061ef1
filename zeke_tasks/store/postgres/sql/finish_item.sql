-- Locks the source first, as all writers of items and texts do, so that they and its deletion wait for each
-- other.
with kept as (
    select item.id
    from zeke.raw_items as item
    inner join zeke.sources as source on item.source_id = source.id
    where item.id = %(id)s and item.status = 'pending'
    for key share of source
)

update zeke.raw_items as item
set
    status = %(status)s,
    attempts = item.attempts + 1,
    error = %(error)s,
    updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
from kept
where item.id = kept.id and item.status = 'pending'
returning item.id
