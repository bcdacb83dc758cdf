"""Low-level Redis: where everything lies, how it is searched, and the scripts that change it.

A storage is spread over buckets; all keys of one bucket share a hash tag, so that one script may
touch them all, on a single server as on a cluster. `keys` is the layout, `client` the connections,
`index` and `query` what RediSearch knows and is asked, `transactions` how a change is made.
"""
