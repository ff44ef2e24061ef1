select id from zeke.sources
where id = %(id)s
for key share
