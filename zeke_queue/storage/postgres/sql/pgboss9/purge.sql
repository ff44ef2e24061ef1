-- Deletes the archived jobs of a queue; pg-boss does so in all queues.
delete from {schema}.archive
where name = %(name)s and archivedon < now() + interval '1 second'
returning id
