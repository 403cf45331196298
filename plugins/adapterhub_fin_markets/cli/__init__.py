"""Define the commands of markets; each is imported when it is typed."""
