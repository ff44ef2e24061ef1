select id from zeke.stories
where id = any(%(ids)s::uuid[])
order by id
for update
