"""Exercise 2.2: the next index. Compared as numbers; a falling one, or one below 1, begins again."""


def answer(old, new):
    fell = old is not None and int(new) < int(old)
    return None if fell or int(new) < 1 else new
