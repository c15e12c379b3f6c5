"""Exercise 2.3: the smallest policy. Two paths in full, no star, one capability each."""

answer = """
path "mysql/creds/todo" {
  capabilities = ["read"]
}
path "mysql/roles" {
  capabilities = ["list"]
}
"""
