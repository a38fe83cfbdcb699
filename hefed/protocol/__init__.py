"""The protocol between a federation's members, sans-IO: bytes in, messages out; no socket, no clock, no file."""
