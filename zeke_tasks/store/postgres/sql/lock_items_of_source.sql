select id from zeke.raw_items
where source_id = %(id)s
-- Locked in one order for all, so that two of these never wait for each other.
order by id
for update
