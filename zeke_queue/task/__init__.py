"""What an application defines, and the types that its signatures name: tasks, catalog, context, runs."""
