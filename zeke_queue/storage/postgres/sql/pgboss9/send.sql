-- Sends a job with the columns that pg-boss 9 names; a uniqueness rule refuses it without an error.
insert into {schema}.job (
    id, name, priority, state, retrylimit, startafter, expirein, data, singletonkey, singletonon, retrydelay,
    retrybackoff, keepuntil, on_complete
)
values (
    coalesce(%(id)s::uuid, gen_random_uuid()),
    %(name)s,
    0,
    'created',
    %(retrylimit)s,
    now() - interval '1 second',
    interval '15 minutes',
    '{"check": true}',
    %(key)s::text,
    case when %(slot)s then timestamp '2000-01-01' end,
    0,
    false,
    now() + interval '14 days',
    %(on_complete)s
)
on conflict do nothing
returning id
