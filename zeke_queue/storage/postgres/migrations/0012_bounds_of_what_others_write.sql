-- A lease or heartbeat out of range would fail every statement that searches for living workers. So a
-- constraint refuses such values, and existing rows with them are deleted: a living worker writes its row
-- again with its next heartbeat.
delete from {schema}.worker
where
    lease not between interval '0' and interval '876000 hours'
    or beat_on not between '0001-01-02 00:00:00+00' and '9999-12-30 00:00:00+00'
    or started_on not between '0001-01-02 00:00:00+00' and '9999-12-30 00:00:00+00';

alter table {schema}.worker
add constraint worker_readable check (
    lease between interval '0' and interval '876000 hours'
    and beat_on between '0001-01-02 00:00:00+00' and '9999-12-30 00:00:00+00'
    and started_on between '0001-01-02 00:00:00+00' and '9999-12-30 00:00:00+00'
);

-- Other programs may have set a job's attempts to the integer maximum; the next attempt is then 1, which
-- still differs from the one before.
create or replace function {schema}.zeke_fence() returns trigger language plpgsql as $$
begin
    new.attempt := case when old.attempt < 2147483647 then old.attempt + 1 else 1 end;
    new.worker := null;
    return new;
end
$$;
