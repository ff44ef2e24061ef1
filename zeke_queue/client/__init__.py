"""The API of an application: the queue, its transactions and the administration of jobs."""
