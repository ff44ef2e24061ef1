select id
from zeke.playbooks
where id = %(id)s
for no key update
