delete from zeke.playbook_steps
where playbook_id = %(id)s
