"""Exercise 4.1: who was it? The users that were valid at one moment."""


def answer(credentials, moment):
    valid = (credentials["issued"] <= moment) & (moment < credentials["until"])
    return sorted(credentials.loc[valid, "user"])
