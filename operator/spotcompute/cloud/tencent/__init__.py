"""Tencent Cloud CVM behind the port: the only room that knows the vendor's words, its SDK and its error codes."""
