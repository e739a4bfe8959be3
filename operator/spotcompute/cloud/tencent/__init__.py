"""Implements the port with Tencent Cloud CVM.

Only this package knows the vendor's words, its SDK and its error codes.
"""
