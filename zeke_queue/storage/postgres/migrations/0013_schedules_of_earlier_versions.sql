-- Moves a schedule that a worker of an earlier version stores in pg-boss's table to our own, so that workers
-- of both versions may run during an upgrade. As in put_schedule.sql, a definition in code is stored only if
-- it differs from the recorded one, and a schedule of pg-boss's by that name is replaced.
create function {schema}.zeke_move_schedule() returns trigger language plpgsql as $$
begin
    delete from {schema}.schedule where name in (old.name, new.name);
    insert into {schema}.zeke_schedule as ours (
        name, cron, timezone, data, options, created_on, updated_on,
        task, catch_up, description, paused, last_tick, next_tick, declared
    )
    values (
        new.name, new.cron, new.timezone, new.data, new.options, new.created_on, new.updated_on,
        new.task, new.catch_up, new.description, new.paused, new.last_tick, new.next_tick, new.declared
    )
    on conflict (name) do update set
        cron = excluded.cron,
        timezone = excluded.timezone,
        data = excluded.data,
        options = excluded.options,
        updated_on = excluded.updated_on,
        task = excluded.task,
        catch_up = excluded.catch_up,
        description = excluded.description,
        paused = excluded.paused,
        declared = coalesce(excluded.declared, ours.declared)
    where excluded.declared is null or ours.declared is distinct from excluded.declared;
    return null;
end
$$;

-- pg-boss writes no task, and we always do.
create trigger schedule_move_ours before insert or update on {schema}.schedule for each row
when (new.task is not null)
execute function {schema}.zeke_move_schedule();

-- Those that were stored since our schedules were moved.
update {schema}.schedule set task = task
where task is not null;
