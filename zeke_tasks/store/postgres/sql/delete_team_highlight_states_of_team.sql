with gone as (
    delete from zeke.team_highlight_states
    where team_id = %(id)s
    returning team_id
)

select count(*) from gone
