"""Exercise 5.1: what a kill costs.

One of ten instances gets 30 of the 300 requests per second. Consul goes on naming it for half an
interval on average and a whole one at worst; a frozen one for the time-out longer.
"""

share = 300 / 10

answer = {"killed, on average": share * 5, "killed, at worst": share * 10, "frozen, at worst": share * 12}
