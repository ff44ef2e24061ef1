"""The definitions of an application and the types in their signatures: tasks, catalog, context, runs."""
