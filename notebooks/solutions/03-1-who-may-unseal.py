"""Exercise 3.1: who may unseal. A proof and not a permission; each share once, each process for itself."""

answer = {
    "three shares, given by a stranger without a token": True,
    "the root token, without a share": False,
    "the same share three times": False,
    "two shares given to vault0 and one to vault1": False,
    "the shares 2, 3 and 4, after vault0 was opened by 1, 3 and 5": True,
}
