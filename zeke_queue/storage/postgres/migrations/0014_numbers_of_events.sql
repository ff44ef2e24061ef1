-- A writer numbers its events, so that a write that is repeated, because its answer was lost, stores each of
-- them once. Earlier versions store no numbers.
alter table {schema}.job_event add column if not exists number bigint;

create unique index concurrently if not exists job_event_number
on {schema}.job_event (number) where number is not null;
