-- What a deleted item leaves behind: its identity alone, by which its source's next check knows it.
alter table zeke.raw_items drop constraint raw_items_status_check;
alter table zeke.raw_items add constraint raw_items_status_check
check (status in ('pending', 'processed', 'no_text_extracted', 'failed', 'deleted'));

-- What retention looks for, oldest first.
create index stories_created on zeke.stories (created_at, id);
create index raw_items_without_text on zeke.raw_items (updated_at)
where status in ('no_text_extracted', 'failed');
create index playbook_runs_ended on zeke.playbook_runs (ended_at) where ended_at is not null;
create index playbook_runs_team on zeke.playbook_runs (team_id);
create index highlights_team on zeke.highlights (team_id) where team_id is not null;
