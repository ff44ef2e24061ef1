"""The scenarios that come with the simulator, one module each."""
