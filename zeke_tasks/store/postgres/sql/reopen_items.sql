with given_up as (
    select id
    from zeke.raw_items
    where id = any(%(ids)s::uuid[]) and status in ('failed', 'no_text_extracted', 'deleted')
    -- Locked in one order for all, so that two of these never wait for each other.
    order by id
    for update
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
