with gone as (
    delete from zeke.highlights
    where team_id = %(id)s
    returning team_id
)

select count(*) from gone
