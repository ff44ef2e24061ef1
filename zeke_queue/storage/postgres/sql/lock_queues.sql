-- Locks those of these queues that no other session has locked, without waiting, and names them in a setting
-- of the transaction, so that the next statement of the same round trip counts what runs in them. Returns
-- the others, each with the transaction that locked it.
with locked as materialized (
    select name
    from {schema}.queue
    where name = any(%(names)s::text[])
    for no key update skip locked
),

held as materialized (
    select
        queue.name,
        queue.xmax::text as holder
    from {schema}.queue
    where
        queue.name = any(%(names)s::text[])
        and not exists (select from locked where locked.name = queue.name)
)

select
    set_config(
        'zeke.locked_queues', (select coalesce(array_agg(locked.name), '{}'::text[])::text from locked), true
    ) as locked,
    array(select held.name from held order by held.name) as names,
    array(select held.holder from held order by held.name) as holders
