with gone as (
    delete from zeke.playbooks
    where team_id = %(id)s
    returning team_id
)

select count(*) from gone
