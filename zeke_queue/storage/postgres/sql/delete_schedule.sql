delete from {schema}.schedule
where name = %(name)s::text
returning name
