-- Locks the rows of those of these queues that no other session has locked, without waiting, and names them
-- in a setting of the transaction, so that the next statement of the same round trip counts what runs in
-- them. Queues that share a limit have one row to lock, found by its key, which a join would not use for a
-- few names. Returns the others, each with the transaction that locked it.
with wanted as materialized (
    select
        queue.name,
        coalesce(
            (select first.name from {schema}.queue as first where first.name = queue.limited_with[1]),
            queue.name
        ) as row_name
    from {schema}.queue
    where queue.name = any(%(names)s::text[])
),

locked as materialized (
    select name
    from {schema}.queue
    where name = any(array(select wanted.row_name from wanted))
    for no key update skip locked
),

held as materialized (
    select
        wanted.name,
        (select queue.xmax from {schema}.queue where queue.name = wanted.row_name)::text as holder
    from wanted
    where not exists (select from locked where locked.name = wanted.row_name)
)

select
    set_config(
        'zeke.locked_queues',
        array(
            select wanted.name
            from wanted
            where exists (select from locked where locked.name = wanted.row_name)
        )::text,
        true
    ) as locked,
    array(select held.name from held order by held.name) as names,
    array(select held.holder from held order by held.name) as holders
