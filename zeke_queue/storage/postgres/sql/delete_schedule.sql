delete from {schema}.zeke_any_schedule
where name = %(name)s::text
returning name
