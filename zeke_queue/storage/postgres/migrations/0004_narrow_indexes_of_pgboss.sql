-- Two of pg-boss's unique indexes have an entry for every job, though a null in them excludes nothing. On a
-- schema that pg-boss made, narrower ones of the same name and meaning take their place; job_name and
-- job_fetch, by which pg-boss fetches, are left alone.
create unique index concurrently if not exists zeke_singletonon
on {schema}.job (name, singletonon)
where state < 'expired' and singletonkey is null and singletonon is not null;

create unique index concurrently if not exists zeke_singletonkeyon
on {schema}.job (name, singletonon, singletonkey)
where state < 'expired' and singletonon is not null and singletonkey is not null;

drop index if exists {schema}.job_singletonon, {schema}.job_singletonkeyon;

alter index {schema}.zeke_singletonon rename to job_singletonon;

alter index {schema}.zeke_singletonkeyon rename to job_singletonkeyon;
