with expired as (
    select id from zeke.raw_items
    where
        status in ('no_text_extracted', 'failed')
        and updated_at
        < coalesce(%(now)s::timestamptz, statement_timestamp()) - make_interval(secs => %(after)s)
    order by updated_at, id
    limit %(limit)s
    for update skip locked
)

update zeke.raw_items as item
set
    status = 'deleted',
    title = null,
    body = null,
    metadata = '{}',
    error = null,
    updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
from expired
where item.id = expired.id
returning item.id
