"""Bridges to other people's servers and clients; each module needs what it is a bridge to.

`hsorm.interop.server` serves a storage over the Haystack HTTP API in any ASGI application,
`hsorm.interop.haystack_py` runs the server of haystack-py on one of our storages.
"""
