-- The names of the queues that share this one's limit, that of their task first. Claims lock the row of the
-- first one, and count the active jobs of all.
alter table {schema}.queue add column if not exists limited_with text[];
