"""Asks the API server: reads, and writes of finalizer, status, events and Secrets.

`port` says what can be asked, and `client` asks it with the official client. No other package knows more than `port`.
"""
