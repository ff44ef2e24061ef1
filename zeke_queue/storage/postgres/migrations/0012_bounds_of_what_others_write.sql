-- A lease or heartbeat that no calendar holds would fail every statement that looks for living workers: it is
-- refused as it is written, and a row that has one is deleted. A living worker writes its row again with the
-- next heartbeat.
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

-- The attempts of a job may be at the end of int, since other programs write rows too; the next one is the
-- first again, and still differs from the one before.
create or replace function {schema}.zeke_fence() returns trigger language plpgsql as $$
begin
    new.attempt := case when old.attempt < 2147483647 then old.attempt + 1 else 1 end;
    new.worker := null;
    return new;
end
$$;
