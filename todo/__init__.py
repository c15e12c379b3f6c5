"""The todo service: a small REST service whose secrets live for a minute.

It follows the twelve factors. Everything it needs to know comes from the environment, it
finds Vault and MySQL through the Consul agent beside it, and it logs to standard output.
`python -m todo` serves, `python -m todo migrate` creates the table.
"""
