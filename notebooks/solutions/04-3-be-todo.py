"""Exercise 4.3: be todo. From a voucher and a role id to a user of the database."""

import hvac


def answer(address, role_id, wrapping_token):
    client = hvac.Client(url=address, token=wrapping_token)
    secret_id = client.sys.unwrap()["data"]["secret_id"]
    client.auth.approle.login(role_id, secret_id)
    given = client.secrets.database.generate_credentials("todo", mount_point="mysql")
    return given["data"]["username"]
