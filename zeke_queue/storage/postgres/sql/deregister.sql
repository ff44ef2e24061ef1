delete from {schema}.worker
where id = %(worker)s::uuid
