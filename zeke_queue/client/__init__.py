"""The API of an application: queues with asyncio and without, transactions, administration of jobs."""
