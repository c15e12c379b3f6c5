"""Exercise 3.2: a role that only reads. A recipe with one right, and a connection that knows the role."""

from helpers import Lab

lab = Lab.open()
root = lab.active_vault()  # in the notebook: your root token

root.secrets.database.configure(
    "mysql",
    plugin_name="mysql-database-plugin",
    allowed_roles=["todo", "todo-migrate", "report"],
    connection_url=f"{{{{username}}}}:{{{{password}}}}@tcp({lab.topology['mysql'].address}:3306)/",
    username="vaultadmin",
    password=lab.home.secret("vaultadmin"),
    mount_point="mysql",
)
root.secrets.database.create_role(
    "report",
    db_name="mysql",
    creation_statements=[
        "CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'; GRANT SELECT ON `Todo`.* TO '{{name}}'@'%';"
    ],
    default_ttl="30s",
    max_ttl="30s",
    mount_point="mysql",
)

answer = "report"
