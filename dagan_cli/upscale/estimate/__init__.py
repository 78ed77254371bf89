"""How long a job will take: the forecast of a dry run, and the line about a long video."""
