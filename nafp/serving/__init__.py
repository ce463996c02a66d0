"""HTTP in, answers out.

`app` has the addresses and `server` the processes. Between a request and an answer stand, in this order: `connections`
and `guard` (what no request may do), `bodies` and `questions` (bytes in, a question out), `desk` (how much is done at
once), `decoding` (strange files, in processes that may die) and `served` (a database that follows its writers).
"""
