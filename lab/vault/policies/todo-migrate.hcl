# What the one-off migration may do: read one credential that can change the schema.
path "{{ database.mount }}/creds/{{ database.role }}-migrate" {
  capabilities = ["read"]
}
path "sys/leases/revoke" {
  capabilities = ["update"]
}
