-- Who waits for a job that has ended.
create index concurrently if not exists job_waitsfor
on {schema}.job (waitsfor) where waitsfor is not null;
