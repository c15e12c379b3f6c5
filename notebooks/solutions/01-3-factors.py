"""Exercise 1.3: name the factor.

Concurrency, build-release-run, backing services, config, processes, disposability.
"""

answer = {
    "todo2 was passing in Consul before anybody told the clients": 8,
    "TODO_CONTENT_LIMIT=sixteen kept a release from running, and the last one was started again": 5,
    "no variable of todo holds the address of the database": 4,
    "the lease went from 60 s to 10 s and back": 3,
    "todo0 was replaced, and the todo written before was still there": 6,
    "todo2 deregistered, served for a second more, and ended with exit code 0": 9,
}
