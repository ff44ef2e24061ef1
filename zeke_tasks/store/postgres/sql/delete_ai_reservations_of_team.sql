with gone as (
    delete from zeke.ai_reservations
    where team_id = %(id)s
    returning team_id
)

select count(*) from gone
