-- The source first, so that its deletion waits and is waited for.
with kept as materialized (
    select id from zeke.sources
    where id = %(source_id)s
    for key share
),

forgotten as (
    select
        id,
        updated_at
    from zeke.raw_items
    where
        source_id = (select kept.id from kept)
        and status = 'pending'
        and updated_at
        < coalesce(%(now)s::timestamptz, statement_timestamp()) - make_interval(secs => %(after)s)
    for update skip locked
),

touched as (
    update zeke.raw_items as item
    set updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
    from forgotten
    where item.id = forgotten.id
    returning item.id, forgotten.updated_at
)

select id from touched
order by updated_at, id
