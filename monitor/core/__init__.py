"""The pure core: time is an argument, and the same input gives the same findings."""
