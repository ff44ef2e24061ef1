-- Notes the time of pg-boss's maintenance and cron.
update {schema}.version set
    maintained_on = now(),
    cron_on = now()
returning version
