-- Which prompt a brief was asked for with, as an analysis says it; of the briefs that are there nobody knows.

alter table zeke.story_overlays add column brief_prompt_version text;
