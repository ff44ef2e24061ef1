-- Stores our schedules in a separate table, since pg-boss's cron fires every row of its table, even a paused
-- one, with its own options. With a common parent table, one statement can read, lock or delete rows of
-- either.
create table {schema}.zeke_any_schedule (like {schema}.schedule including defaults);

create table {schema}.zeke_schedule (
    primary key (name),
    constraint schedule_readable check (
        catch_up in ('skip', 'once', 'all')
        and last_tick between '0001-01-02 00:00:00+00' and '9999-12-30 00:00:00+00'
        and next_tick between '0001-01-02 00:00:00+00' and '9999-12-30 00:00:00+00'
    )
) inherits ({schema}.zeke_any_schedule);

-- pg-boss writes no task, and we always do.
with ours as (
    delete from {schema}.schedule
    where task is not null
    returning *
)

insert into {schema}.zeke_schedule
select * from ours;

create trigger schedule_start_anew before update on {schema}.zeke_schedule for each row
when (
    (old.cron, coalesce(old.timezone, 'UTC')) is distinct from (new.cron, coalesce(new.timezone, 'UTC'))
    or (old.paused and not new.paused)
)
execute function {schema}.zeke_start_anew();

alter table {schema}.schedule inherit {schema}.zeke_any_schedule;
