"""Exercise 2.1: where a client connects to. The service's own address, or else its node's."""


def answer(client, service):
    _, entries = client.health.service(service, passing=True)
    return [
        f"{entry['Service']['Address'] or entry['Node']['Address']}:{entry['Service']['Port']}"
        for entry in entries
    ]
