update {schema}.worker
set asleep = %(asleep)s::bool
where id = %(worker)s::uuid and asleep <> %(asleep)s::bool
