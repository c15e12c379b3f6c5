# What the one-off migration may do: read a credential that can change the schema.
path "{{ database.mount }}/creds/{{ database.role }}-migrate" {
  capabilities = ["read"]
}
