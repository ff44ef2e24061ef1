select team_id
from zeke.source_connections
where source_id = %(source_id)s
order by team_id
for key share
