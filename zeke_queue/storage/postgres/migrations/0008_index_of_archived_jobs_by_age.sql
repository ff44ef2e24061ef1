-- Archived jobs in the order in which they are listed: there are many, each is written once, and nobody who
-- sends or claims waits for that.
--
-- The job table has no such index. Every claim and every settlement makes a new version of a row, which such
-- an index would have an entry for: it cost the server 20 to 30 % more time for each job that is claimed and
-- settled, and 8 % more for each that is sent in a batch. One of ended jobs alone cost 10 % and 4 %. A list
-- that no other index narrows down reads the table instead, 0.3 s for a million jobs, at the wish of
-- somebody who looks; how long ended jobs stay in there is a setting (JOBS_ARCHIVE_AFTER).
create index concurrently if not exists archive_createdon_idx
on {schema}.archive (createdon, id);
