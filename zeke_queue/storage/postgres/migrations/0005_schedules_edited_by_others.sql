-- Whoever edits a schedule, pg-boss's schedule() and people with psql included, has it start anew from now if
-- it fires at other times, or if a pause ends: the tick that was worked out before says nothing any more.
create function {schema}.zeke_start_anew() returns trigger language plpgsql as $$
begin
    new.last_tick := null;
    new.next_tick := null;
    return new;
end
$$;

create trigger schedule_start_anew before update on {schema}.schedule for each row
when (
    (old.cron, coalesce(old.timezone, 'UTC')) is distinct from (new.cron, coalesce(new.timezone, 'UTC'))
    or (old.paused and not new.paused)
)
execute function {schema}.zeke_start_anew();

-- What no scheduler could read is refused as it is written, by hand or otherwise, and mended where it stands.
update {schema}.schedule set catch_up = 'once'
where catch_up not in ('skip', 'once', 'all');

update {schema}.schedule set
    last_tick = null,
    next_tick = null
where
    last_tick not between '0001-01-02 00:00:00+00' and '9999-12-30 00:00:00+00'
    or next_tick not between '0001-01-02 00:00:00+00' and '9999-12-30 00:00:00+00';

alter table {schema}.schedule
add constraint schedule_readable check (
    catch_up in ('skip', 'once', 'all')
    and last_tick between '0001-01-02 00:00:00+00' and '9999-12-30 00:00:00+00'
    and next_tick between '0001-01-02 00:00:00+00' and '9999-12-30 00:00:00+00'
);
