"""Asks the cloud: a port in our words (`provider`), its errors, what is read through it, and the vendor behind it."""
