-- Stores a schedule of pg-boss's cron.
insert into {schema}.schedule (name, cron, timezone, data, options)
values (%(name)s, '* * * * *', 'UTC', null, '{}')
on conflict (name) do update set
    cron = excluded.cron,
    timezone = excluded.timezone,
    data = excluded.data,
    options = excluded.options,
    updated_on = now()
returning name
