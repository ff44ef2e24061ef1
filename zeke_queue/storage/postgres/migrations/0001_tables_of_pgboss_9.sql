-- The tables as pg-boss 9 makes them (its schema version 20), for a schema that pg-boss has not made already.
-- Of its indexes two are left out, job_name and job_fetch, which cost half the speed and serve only its own
-- fetch; two are narrower: rows whose slot or key is null exclude nothing, so they need no entry.
--
-- A schema that somebody made for us is used without asking for the right to make one.
do $$
begin
    if to_regnamespace('{schema}') is null then
        create schema {schema};
    end if;
end
$$;

create type {schema}.job_state as enum (
    'created', 'retry', 'active', 'completed', 'expired', 'cancelled', 'failed'
);

create table {schema}.version (
    version int primary key,
    maintained_on timestamptz,
    cron_on timestamptz
);

create table {schema}.job (
    id uuid not null default gen_random_uuid() primary key,
    name text not null,
    priority int not null default 0,
    data jsonb,
    state {schema}.job_state not null default 'created',
    retrylimit int not null default 0,
    retrycount int not null default 0,
    retrydelay int not null default 0,
    retrybackoff bool not null default false,
    startafter timestamptz not null default now(),
    startedon timestamptz,
    singletonkey text,
    singletonon timestamp,
    expirein interval not null default interval '15 minutes',
    createdon timestamptz not null default now(),
    completedon timestamptz,
    keepuntil timestamptz not null default now() + interval '14 days',
    on_complete bool not null default false,
    output jsonb
);

create table {schema}.archive (like {schema}.job);

alter table {schema}.archive add archivedon timestamptz not null default now();

create table {schema}.schedule (
    name text primary key,
    cron text not null,
    timezone text,
    data jsonb,
    options jsonb,
    created_on timestamptz not null default now(),
    updated_on timestamptz not null default now()
);

create table {schema}.subscription (
    event text not null,
    name text not null,
    created_on timestamptz not null default now(),
    updated_on timestamptz not null default now(),
    primary key (event, name)
);

create index archive_id_idx on {schema}.archive (id);

create index archive_archivedon_idx on {schema}.archive (archivedon);

create unique index job_singletonon on {schema}.job (name, singletonon)
where state < 'expired' and singletonkey is null and singletonon is not null;

create unique index job_singletonkeyon on {schema}.job (name, singletonon, singletonkey)
where state < 'expired' and singletonon is not null and singletonkey is not null;

create unique index job_singletonkey on {schema}.job (name, singletonkey)
where state < 'completed' and singletonon is null and not singletonkey like '\_\_pgboss\_\_singleton\_queue%';

create unique index job_singleton_queue on {schema}.job (name, singletonkey)
where state < 'active' and singletonon is null and singletonkey like '\_\_pgboss\_\_singleton\_queue%';

insert into {schema}.version (version) values (20);
