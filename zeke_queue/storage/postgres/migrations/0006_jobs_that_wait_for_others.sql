-- A job may wait for another one's end. waitsfor is the other's id, while it does; awaited is set on a job
-- for whose end somebody waits, so that only these are looked up when they end.
alter table {schema}.job
add waitsfor uuid,
add awaited bool not null default false;

alter table {schema}.archive
add waitsfor uuid,
add awaited bool not null default false;
