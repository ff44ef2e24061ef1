with gone as (
    delete from zeke.source_connections
    where team_id = %(id)s
    returning team_id
)

select count(*) from gone
