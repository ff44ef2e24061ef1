with gone as (
    delete from zeke.playbook_runs
    where team_id = %(id)s
    returning team_id
)

select count(*) from gone
