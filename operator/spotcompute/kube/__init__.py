"""What we ask of the API server, and nothing else: reads, the finalizer, the status, events, secrets.

`port` says it in our words; `client` does it with the official client; nobody above knows more than `port`.
"""
