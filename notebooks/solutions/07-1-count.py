"""Exercise 7.1: count what was acknowledged.

Compare identities, not totals: one lost and one unexpected row make the same sum.
"""


def answer(entries, rows):
    promised = entries.id.dropna()
    return {
        "lost": int((~promised.isin(rows.id)).sum()),
        "unexpected": int((~rows.id.isin(promised)).sum()),
        "twice": int(rows.content.duplicated().sum()),
    }
