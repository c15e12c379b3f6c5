# What an instance of todo may do: read database credentials, and nothing else. A lease it needs no
# longer it renews for one second (policy `default`): the right to revoke would be one over all leases.
path "{{ database.mount }}/creds/{{ database.role }}" {
  capabilities = ["read"]
}
