update {schema}.zeke_any_schedule
set
    last_tick = %(last_tick)s::timestamptz,
    next_tick = %(next_tick)s::timestamptz
where name = %(name)s::text
