-- Columns of ours on the shared tables, each with a default that a pg-boss 9 beside us can rely on, and
-- tables of ours. A new row version finds room on the page of the old one.
alter table {schema}.job
add attempt int not null default 0,
add worker uuid,
add policy text,
add groupkey text,
add parent uuid,
add meta jsonb,
add retrydelaymax int,
add history jsonb,
set (fillfactor = 70);

alter table {schema}.archive
add attempt int not null default 0,
add worker uuid,
add policy text,
add groupkey text,
add parent uuid,
add meta jsonb,
add retrydelaymax int,
add history jsonb;

alter table {schema}.schedule
add task text,
add catch_up text not null default 'once',
add description text,
add paused bool not null default false,
add last_tick timestamptz,
add next_tick timestamptz,
add declared jsonb;

create table {schema}.queue (
    name text primary key,
    concurrency_limit int,
    paused_on timestamptz
);

create table {schema}.worker (
    id uuid primary key,
    host text not null,
    pid int not null,
    queues text[] not null,
    lease interval not null,
    started_on timestamptz not null,
    beat_on timestamptz not null,
    asleep bool not null default false
) with (fillfactor = 50);

create table {schema}.watcher (
    job_id uuid,
    watcher uuid,
    until timestamptz not null,
    primary key (job_id, watcher)
);

create table {schema}.job_event (
    seq bigint generated always as identity primary key,
    job_id uuid not null,
    attempt int not null,
    kind text not null,
    data jsonb not null,
    at timestamptz not null
);

create index job_event_job on {schema}.job_event (job_id, seq);

-- pg-boss 9 knows nothing of attempts: whoever makes a row active without counting the claim has it counted
-- here, so that what an earlier holder still sends is refused.
create function {schema}.zeke_fence() returns trigger language plpgsql as $$
begin
    new.attempt := old.attempt + 1;
    new.worker := null;
    return new;
end
$$;

create trigger job_fence before update on {schema}.job for each row
when (new.state = 'active' and old.state <> 'active' and new.attempt = old.attempt)
execute function {schema}.zeke_fence();
