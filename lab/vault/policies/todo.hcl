# What an instance of todo may do: read one database credential at a time, and give it back.
path "{{ database.mount }}/creds/{{ database.role }}" {
  capabilities = ["read"]
}
path "sys/leases/revoke" {
  capabilities = ["update"]
}
