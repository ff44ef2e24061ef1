-- Deletes waiting jobs whose ids are those of archived jobs: the second statement of an insert that waited
-- while its id was being archived. The archived job stays.
delete from {schema}.job
where
    id = any(%(ids)s::uuid[])
    and state::text = 'created'
    and attempt = 0
    -- One index search each, for any size of the archive at planning.
    and (select true from {schema}.archive where archive.id = job.id limit 1) is not null -- noqa: AM09
returning id
