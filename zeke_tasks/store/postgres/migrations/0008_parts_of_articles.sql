-- Whether the text that the story was made of is a part of its page's article.

alter table zeke.stories add column is_partial boolean not null default false;
