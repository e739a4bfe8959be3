"""The cloud seen from the operator: a port in our words (`provider`), its errors, and the vendor behind it."""
