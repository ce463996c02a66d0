"""HTTP in, answers and a page out.

`app` has the addresses and `server` the processes. Between a request and an answer stand, in this order: `connections`
and `guard` (what no request may do), `bodies` and `questions` (bytes in, a question out), `desk` (how much is done at
once), `decoding` (strange files, in processes that may die) and `served` (a database that follows its writers).

The page lies in the folder `page`. `page_files` reads it, `page_routes` has its addresses, `browser_network` what it
computes with, and `site` writes it without a server.
"""
